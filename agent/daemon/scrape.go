package daemon

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// freshness is how long an answer serves everybody who asks: whoever reaches
// the port cannot make the agent work more often.
const freshness = time.Second

// Metrics serves the figures in the text format of Prometheus.
func (d *Daemon) Metrics() http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{d})
	plain := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	ask := &http.Request{Method: http.MethodGet, URL: &url.URL{}, Header: http.Header{}} // the text format, whoever asks for what
	var mu sync.Mutex
	var last *page
	var made time.Time
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		if time.Since(made) >= freshness {
			last = &page{header: http.Header{}, code: http.StatusOK}
			plain.ServeHTTP(last, ask)
			made = time.Now()
		}
		now := last
		mu.Unlock()
		w.Header().Set("Content-Type", now.header.Get("Content-Type"))
		w.WriteHeader(now.code)
		_, _ = w.Write(now.text) // the peer may be gone
	})
}

// page keeps an answer.
type page struct {
	header http.Header
	code   int
	text   []byte
}

// Header is that of the answer.
func (p *page) Header() http.Header { return p.header }

// WriteHeader keeps the code.
func (p *page) WriteHeader(code int) { p.code = code }

// Write keeps a part of the text.
func (p *page) Write(part []byte) (int, error) {
	p.text = append(p.text, part...)
	return len(part), nil
}

// Limits on those who connect to the address of the metrics: anybody may, also
// a workload.
const (
	maxScrapes  = 16
	scrapeLimit = 5 * time.Second
)

// serveMetrics serves the figures at the address that the configuration names;
// closing what it returns ends that. Any process may have taken the port, a
// workload too: the agent does without, says so, and tries again.
func (d *Daemon) serveMetrics() io.Closer {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.Metrics())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: scrapeLimit, ReadTimeout: scrapeLimit, WriteTimeout: 2 * scrapeLimit,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	address := d.config.Metrics
	if address == "" {
		return server
	}
	go func() {
		for !d.stopped() {
			listener, err := net.Listen("tcp", address)
			if err == nil {
				_ = server.Serve(&few{Listener: listener, slots: make(chan struct{}, maxScrapes)}) // it was closed
				return
			}
			d.book.once("metrics", fmt.Sprintf("metrics: %v: the socket alone has them; free the port, or name another", err))
			select {
			case <-d.quit:
			case <-time.After(rescan):
			}
		}
	}()
	return server
}

// few closes connections beyond a number at once: one that waited would take a
// descriptor.
type few struct {
	net.Listener
	slots chan struct{}
}

// Accept returns the next connection for which there is room.
func (f *few) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.slots <- struct{}{}:
			return &oneOfFew{Conn: c, slots: f.slots}, nil
		default:
			c.Close()
		}
	}
}

// oneOfFew gives its slot back when it is closed.
type oneOfFew struct {
	net.Conn
	once  sync.Once
	slots chan struct{}
}

// Close closes the connection.
func (c *oneOfFew) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
