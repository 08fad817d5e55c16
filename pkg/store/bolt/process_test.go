package bolt

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// children are what the test program does when it is started again as another
// process: one argument each.
var children = map[string]func(path, argument string) error{
	"count": func(path, argument string) error {
		s, err := Open(Options{Path: path})
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(argument)
		for range n {
			if err := s.Update(background, count); err != nil {
				return err
			}
		}
		return s.Close()
	},
	"read": func(path, _ string) error {
		s, err := Open(Options{Path: path})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		for {
			if err := s.View(background, func(r store.Reader) error {
				_, err := r.Get([]byte("count"))
				time.Sleep(time.Millisecond)
				return err
			}); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
	},
	"hold": func(path, _ string) error {
		s, err := Open(Options{Path: path, Exclusive: true})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return s.Close()
	},
	"write": func(path, mode string) error {
		s, err := Open(Options{Path: path, Exclusive: mode == "exclusive"})
		if err != nil {
			return err
		}
		failed := make(chan error)
		for g := range 4 {
			go func() {
				for i := 0; ; i++ {
					key := fmt.Sprintf("k/%d/%d", g, i)
					if err := s.Update(background, func(w store.Writer) error {
						return errors.Join(w.Put([]byte(key), make([]byte, 300)), w.Put([]byte("twin"+key), nil), count(w))
					}); err != nil {
						failed <- err
					}
					fmt.Println(key)
				}
			}()
		}
		return <-failed
	},
}

func TestMain(m *testing.M) {
	if run := children[os.Getenv("BOLT_TEST_CHILD")]; run != nil {
		if err := run(os.Getenv("BOLT_TEST_PATH"), os.Getenv("BOLT_TEST_ARGUMENT")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Every history costs fsyncs here; the memory store runs more of them.
	_ = flag.Set("rapid.checks", "50")
	os.Exit(m.Run())
}

func child(t testing.TB, name, path, argument string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "BOLT_TEST_CHILD="+name, "BOLT_TEST_PATH="+path, "BOLT_TEST_ARGUMENT="+argument)
	c.Stderr = os.Stderr
	return c
}

// start starts a child and waits for its first line. It is killed at the
// test's end.
func start(t testing.TB, name, path, argument string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := child(t, name, path, argument)
	stdin, err := c.StdinPipe()
	must(t, err)
	stdout, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the child said nothing")
	}
	return c, lines
}

// TestManyProcesses: 20 at once, each with the default timeout of 1 s.
func TestManyProcesses(t *testing.T) {
	path := newPath(t)
	const processes, each = 20, 10
	done := make(chan error)
	for range processes {
		go func() {
			out, err := child(t, "count", path, strconv.Itoa(each)).Output()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			done <- err
		}()
	}
	for range processes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	expectCount(t, path, processes*each)
}

// TestWriterAmongReaders: readers share their lock and are never all away.
// Without the gate the writer does not get in within a second.
func TestWriterAmongReaders(t *testing.T) {
	path := newPath(t)
	for range 6 {
		start(t, "read", path, "")
	}
	s := open(t, Options{Path: path})
	for range 10 {
		must(t, s.Update(background, count))
	}
}

func TestHolderIsNamed(t *testing.T) {
	path := newPath(t)
	holder, _ := start(t, "hold", path, "")
	eachMode(t, func(t *testing.T, exclusive bool) {
		_, err := Open(Options{Path: path, Exclusive: exclusive, LockTimeout: 60 * time.Millisecond})
		var e *token.Error
		if !errors.Is(err, token.ErrCannotTell) || !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Message, path+" is in use by ") {
			t.Fatalf("Open returned %v", err)
		}
		if want := fmt.Sprintf("bolt.test (pid %d)", holder.Process.Pid); runtime.GOOS == "linux" && !strings.HasSuffix(e.Message, want) {
			t.Errorf("the message %q does not end with %q", e.Message, want)
		}
	})
}

// TestTimeout: the holder's end is noticed soon, and not waited for longer than
// told.
func TestTimeout(t *testing.T) {
	path := newPath(t)
	holder := open(t, Options{Path: path, Exclusive: true})
	time.AfterFunc(100*time.Millisecond, func() { holder.Close() })
	s := open(t, Options{Path: path, LockTimeout: 20 * time.Second})
	must(t, s.Close())

	holder = open(t, Options{Path: path, Exclusive: true})
	start := time.Now()
	if _, err := Open(Options{Path: path, LockTimeout: 100 * time.Millisecond}); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("Open returned %v", err)
	}
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
}

func TestContextEndsWaiting(t *testing.T) {
	path := newPath(t)
	s := open(t, Options{Path: path, LockTimeout: time.Minute})
	holder := open(t, Options{Path: path, Exclusive: true})
	for name, call := range map[string]func(context.Context) error{
		"View":   func(ctx context.Context) error { return s.View(ctx, func(store.Reader) error { return nil }) },
		"Update": func(ctx context.Context) error { return s.Update(ctx, count) },
	} {
		ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	must(t, holder.Close())
	must(t, s.Update(background, count))
	expectCount(t, path, 1)
}

// TestUpdateInView is forbidden. In shared mode it ends with an error that says
// who holds the lock, in place of a deadlock.
func TestUpdateInView(t *testing.T) {
	s := open(t, Options{Path: newPath(t), LockTimeout: 60 * time.Millisecond})
	must(t, s.View(background, func(store.Reader) error {
		err := s.Update(background, count)
		if !errors.Is(err, token.ErrCannotTell) || runtime.GOOS == "linux" && !strings.Contains(err.Error(), "in use by this process") {
			t.Errorf("Update in a View returned %v", err)
		}
		return nil
	}))
}

// TestKilled kills a writing process and looks whether all that it said to
// have written is there, and everything whole.
func TestKilled(t *testing.T) {
	for _, mode := range []string{"shared", "exclusive"} {
		t.Run(mode, func(t *testing.T) {
			path := newPath(t)
			for range 4 {
				c, lines := start(t, "write", path, mode)
				acknowledged := map[string]bool{lines.Text(): true}
				time.AfterFunc(60*time.Millisecond, func() { _ = c.Process.Kill() })
				for lines.Scan() {
					acknowledged[lines.Text()] = true
				}
				s := open(t, Options{Path: path})
				all := uint64(0)
				must(t, s.View(background, func(r store.Reader) error {
					for e, err := range r.Scan([]byte("k/"), nil) {
						must(t, err)
						all++
						delete(acknowledged, string(e.Key))
						if _, err := r.Get(append([]byte("twin"), e.Key...)); err != nil {
							t.Errorf("%s came without its twin: %v", e.Key, err)
						}
					}
					return nil
				}))
				if len(acknowledged) > 0 {
					t.Errorf("%d acknowledged writes are lost: %v", len(acknowledged), acknowledged)
				}
				if all == 0 {
					t.Error("nothing was written: the test shows nothing")
				}
				must(t, s.Close())
			}
		})
	}
}
