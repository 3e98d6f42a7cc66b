package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func scraped(d *Daemon) string {
	answer := httptest.NewRecorder()
	d.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

func TestMetricsSayWhatTheStatusSays(t *testing.T) {
	y, d, r := heldByAgent(t)
	y.set.change(func() {
		*y.set.of(1) = bpf.Workload{ID: 1, Name: "one", Generation: 1, Counters: abi.Counters{Allowed: 11, Denied: 5, Dropped: 1}, Delivered: 3, Lost: 1}
		y.set.of(2).Counters = abi.Counters{Allowed: 20, Denied: 6}
		y.set.tasks[1] = 4
	})
	deliver(d, abi.Event{Workload: 1, Reason: abi.ReasonPolicy, Path: "/secret"})
	deliver(d, abi.Event{Workload: 2, Reason: abi.ReasonBoundary, Path: "/secret"})
	d.reloaded(errors.New("a mistake"))
	text := scraped(d)
	for _, want := range []string{
		`stockade_allowed_total{workload="one"} 11`, `stockade_denied_total{workload="one"} 5`, `stockade_delivered_total{workload="one"} 4`,
		`stockade_dropped_total{workload="one"} 1`, `stockade_lost_total{workload="one"} 1`, `stockade_tasks{workload="one"} 4`,
		`stockade_cgroups{workload="one"} 0`, `stockade_generation{workload="one"} 1`,
		`stockade_workload_info{mode="enforce",origin="config",policy_digest="sha256:`,
		`stockade_allowed_total{workload="(runs)"} 20`, `stockade_cgroups{workload="(runs)"} 1`, "stockade_runs 1",
		`stockade_reloads_total{result="failed"} 1`, `stockade_reloads_total{result="ok"} 0`, "stockade_config_ok 0",
		`stockade_events_total{reason="` + abi.ReasonPolicy.String() + `"} 1`, `stockade_events_total{reason="` + abi.ReasonBoundary.String() + `"} 1`,
		`stockade_tables_bytes{state="used"} 800`, "stockade_asks_waiting 0", "stockade_asks_answered_total 0", "# TYPE stockade_denied_total counter",
	} {
		if !strings.Contains(text, want+"\n") && !strings.HasSuffix(want, ":") || !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(text, r.Name) || strings.Contains(text, "/secret") {
		t.Error("names of runs, or paths")
	}
	if t.Failed() {
		t.Log(text)
	}

	// What a run came to stays when it is over, and nothing else of it.
	y.set.Counts = abi.Counters{Allowed: 20, Denied: 6}
	y.set.change(func() { clear(y.set.groups) })
	d.all.byName[r.Name].run.detach() // its process is gone, too
	d.all.byName[r.Name].memory.Process = "4194303 1"
	d.sweep()
	text = scraped(d)
	for _, want := range []string{`stockade_allowed_total{workload="(runs)"} 20`, `stockade_denied_total{workload="(runs)"} 6`, `stockade_cgroups{workload="(runs)"} 0`, "stockade_runs 0"} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("afterwards lacks %s\n%s", want, text)
		}
	}
}

func TestMetricsAreMadeAtMostOnceASecond(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	handler := d.Metrics()
	ask := func() string {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		return answer.Body.String()
	}
	first := ask()
	d.reloaded(nil)
	if second := ask(); second != first || !strings.Contains(first, `result="ok"} 0`) {
		t.Errorf("first\n%s\nthen\n%s", first, second)
	}
}

func TestMetricsHaveTheirPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	y := newYard(t)
	y.write("agent.yaml", "metrics: {listen: '"+address+"'}\n"+yardConfig)
	client, stop := y.serving() // whoever has the port
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s, err := client.Status(context.Background()); err == nil && strings.Contains(strings.Join(s.Notes, "\n"), "metrics: listen tcp "+address) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if err := errors.Join(stop(), taken.Close()); err != nil {
		t.Fatal(err)
	}
	_, stop = y.serving()
	get := func(path string) (int, string) {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			resp, err := http.Get("http://" + address + path)
			if err == nil {
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, string(text)
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	if code, text := get("/metrics"); code != http.StatusOK || !strings.Contains(text, `stockade_generation{workload="one"} 1`) {
		t.Errorf("%d: %s", code, text)
	}
	if code, _ := get("/v1/status"); code != http.StatusNotFound {
		t.Errorf("the status by the port: %d", code)
	}
	unix := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(y.dir, "sock"))
	}}}
	resp, err := unix.Get("http://agent/metrics")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	resp.Body.Close()
	y.set.confined[os.Getpid()] = true
	if resp, err = unix.Get("http://agent/metrics"); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a confined process, by the socket: %+v, %v", resp, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
