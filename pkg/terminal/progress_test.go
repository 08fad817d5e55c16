package terminal

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screen keeps what was written, for several goroutines.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestProgressOfShortWorkShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		p := NewProgress(&s, true, "purging")
		p.Add(7)
		time.Sleep(999 * time.Millisecond)
		p.Done()
		time.Sleep(time.Hour)
		if s.String() != "" {
			t.Errorf("%q", s.String())
		}
	})
}

func TestProgressAppearsAfterASecondAndGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		p := NewProgress(&s, true, "pur\x1b[31mging\n")
		p.Add(7)
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if want := "\rpur[31mging : 7"; s.String() != want {
			t.Errorf("after a second: %q, want %q", s.String(), want)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if strings.Count(s.String(), "\r") != 1 {
			t.Errorf("the same count was written again: %q", s.String())
		}
		p.Add(5)
		time.Sleep(progressEvery)
		synctest.Wait()
		if !strings.HasSuffix(s.String(), "\rpur[31mging : 12") {
			t.Errorf("after more work: %q", s.String())
		}
		p.Done()
		p.Done()
		if !strings.HasSuffix(s.String(), "\r"+strings.Repeat(" ", len("pur[31mging : 12"))+"\r") {
			t.Errorf("the line was not taken away: %q", s.String())
		}
		end := s.String()
		p.Add(1)
		time.Sleep(time.Hour)
		if s.String() != end {
			t.Errorf("written after Done: %q", s.String())
		}
	})
}

func TestProgressWithoutATerminalShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		p := NewProgress(&s, false, "purging")
		for range 10 {
			p.Add(1)
			time.Sleep(time.Second)
		}
		p.Done()
		if s.String() != "" {
			t.Errorf("%q", s.String())
		}
	})
}

func TestProgressStaysOnItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		p := NewProgress(&s, true, strings.Repeat("x", 200))
		p.Add(1234)
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if got := s.String(); len(got) != 1+progressWidth || !strings.HasSuffix(got, "x: 1234") {
			t.Errorf("%d: %q", len(got), got)
		}
		p.Done()
	})
}
