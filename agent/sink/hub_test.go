package sink

import "testing"

func TestSlowListenersMissLinesAndAreTold(t *testing.T) {
	var h Hub
	lines, end := h.Subscribe()
	for range maxWaiting + 5 {
		h.send("x")
	}
	for range maxWaiting {
		<-lines
	}
	h.send("y")
	if got := <-lines; got != `{"type":"missed","count":5}` {
		t.Errorf("got %s", got)
	}
	if got := <-lines; got != "y" {
		t.Errorf("got %s", got)
	}
	end()
	_ = h.Close()
	h.send("z")
}
