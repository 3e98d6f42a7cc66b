package run

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/memory"
)

// told is what a run was told of responses to it, by who holds it. One that hung, or died,
// told nothing of what was done meanwhile: the book has that.
type told struct {
	mu   sync.Mutex
	list []message
}

type message struct {
	at   time.Time
	text string
}

func (t *told) add(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, message{time.Now(), text})
}

// rest is what nobody told of what was done. Each message tells of one response.
func (t *told) rest(done []api.Past) (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	used := make([]bool, len(t.list))
	for i := range done {
		p, known := &done[i], false
		begin := fmt.Sprintf("%s by %s: ", p.Verb, &p.By) // as a response's note
		for j, m := range t.list {
			if known = !used[j] && !m.at.Before(p.At) && strings.HasPrefix(m.text, begin); known {
				used[j] = true
				break
			}
		}
		if !known {
			list = append(list, p.String())
		}
	}
	return list
}

// bookPause is how often is looked what the book has.
const bookPause = 50 * time.Millisecond

// follow reads a book until its result is called: who holds a run forgets what was done to
// it once it is over. The result is what nobody told of that; what is being done without
// who holds it is waited for, for a while.
func (t *told) follow(book memory.Book, name string) (known func() []string) {
	last := book.Past(name)
	quit, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		if list := book.Past(name); len(list) > 0 {
			last = list
		}
	}
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			case <-time.After(bookPause):
				look()
			}
		}
	}()
	return func() []string {
		close(quit)
		<-ended
		look()
		for end := time.Now().Add(closeLimit); len(last) > 0 && time.Now().Before(end); look() {
			if p := &last[len(last)-1]; !p.Unattended || !p.Unfinished {
				break
			}
			time.Sleep(2 * bookPause) // who does it is not at its end
		}
		return t.rest(last)
	}
}
