package terminal

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	progressDelay = time.Second            // shorter work shows nothing
	progressEvery = 200 * time.Millisecond // fast enough to look alive
	progressWidth = 79                     // a line that wraps cannot be overwritten
)

// Progress is a line "label: count", or "label…" if nothing is counted, on stderr that overwrites itself. It
// appears when the work has lasted a second, and is gone after [Progress.Done].
// Nothing else may be written to the same stream in between.
type Progress struct {
	w     io.Writer
	label string
	count atomic.Int64
	stop  chan struct{} // nil: shows nothing
	end   sync.Once
	ended chan struct{}
}

// NewProgress starts the clock. If isTerminal is false, nothing is ever
// written. Done must be called.
func NewProgress(w io.Writer, isTerminal bool, label string) *Progress {
	p := &Progress{w: w, label: Sanitise(label)}
	if isTerminal {
		p.stop, p.ended = make(chan struct{}), make(chan struct{})
		go p.show()
	}
	return p
}

// Add counts n more. It may be called by several goroutines.
func (p *Progress) Add(n int) { p.count.Add(int64(n)) }

// Done takes the line away. After it has returned nothing more is written.
func (p *Progress) Done() {
	if p.stop == nil {
		return
	}
	p.end.Do(func() { close(p.stop) })
	<-p.ended
}

// show writes without escape sequences, so that the dumbest terminal shows it
// right. Write errors are ignored: work does not fail for want of an audience.
func (p *Progress) show() {
	defer close(p.ended)
	select {
	case <-p.stop:
		return
	case <-time.After(progressDelay):
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for shown := ""; ; {
		if line := p.line(); line != shown {
			fmt.Fprint(p.w, "\r", line) // counts only grow, so it covers the last one
			shown = line
		}
		select {
		case <-p.stop:
			fmt.Fprint(p.w, "\r", strings.Repeat(" ", len(shown)), "\r")
			return
		case <-tick.C:
		}
	}
}

func (p *Progress) line() string {
	count := "…"
	if n := p.count.Load(); n > 0 {
		count = fmt.Sprintf(": %d", n)
	}
	label := []rune(p.label)
	return string(label[:min(len(label), progressWidth-len(count))]) + count
}
