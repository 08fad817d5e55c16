//go:build linux

package cmd_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deaf are standard outputs that take no answer.
var deaf = map[string]func(t *testing.T, m *machine, c *exec.Cmd){
	"closed": func(_ *testing.T, m *machine, c *exec.Cmd) {
		c.Args = append([]string{"/bin/sh", "-c", `exec "$0" "$@" >&-`}, c.Args...)
		c.Path = "/bin/sh"
	},
	"full": func(t *testing.T, m *machine, c *exec.Cmd) {
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		c.Stdout = f
	},
	"pipe without a reader": func(t *testing.T, m *machine, c *exec.Cmd) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { w.Close() })
		c.Stdout = w
	},
}

// A secret that nobody could read is taken back: no token is left, and what was
// there before goes on working.
func TestHostileStdout(t *testing.T) {
	t.Parallel()
	for name, spoil := range deaf {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := seeded(t)
			before := m.must("", "list", "--all", "-o", "name")
			for _, args := range [][]string{
				{"generate", "refresh", "new"},
				{"generate", "refresh", "new", "-o", "json"},
				{"generate", "refresh"},
				{"generate", "--owner", "alice"},
				{"rotate", "ci"},
				{"rotate", s.id, "--grace", "1d"},
				{"rotate", s.id, "--until-used"},
				{"rotate", "--kind", "refresh", "--yes"},
			} {
				r := m.runWith(func(c *exec.Cmd) { spoil(t, m, c) }, args...)
				m.ends(r, 1, "could not be written")
			}
			r := m.runWith(func(c *exec.Cmd) { spoil(t, m, c); c.Stdin = strings.NewReader(s.refresh) }, "exchange")
			m.ends(r, 1, "could not be written")
			if after := m.must("", "list", "--all", "-o", "name"); after != before {
				t.Errorf("tokens are\n%s\nand were\n%s", after, before)
			}
			m.must(s.refresh, "verify")
			m.must(s.pair, "verify")
			m.must(m.must("", "generate", "refresh", "new"), "verify") // the name is free
			m.must("", "admin", "check", "--deep")
		})
	}
}

// A rotation that is taken back has not happened: a secret that was still good
// for a while before it is so again.
func TestHostileRotationTakenBack(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	second := m.must("", "rotate", "ci", "--grace", "1d")
	m.must(s.refresh, "verify")
	for _, args := range [][]string{{"rotate", "ci"}, {"rotate", "ci", "--grace", "1h"}, {"rotate", "ci", "--until-used"}} {
		m.ends(m.runWith(func(c *exec.Cmd) { deaf["full"](t, m, c) }, args...), 1, "could not be written")
		m.must(s.refresh, "verify")
		m.must(second, "verify")
	}
	third := m.must("", "rotate", "ci")
	m.must(third, "verify")
	m.ends(m.run(s.refresh, "verify"), 3)
	m.ends(m.run(second, "verify"), 3)
}

// A signal that meets a secret on its way out: either somebody has read it, or
// it is taken back.
// hearHangups makes commands that are started from here hear hangups, also if
// the tests themselves were started by nohup.
func hearHangups() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

func TestHostileSignalWhileHandingOver(t *testing.T) {
	t.Parallel()
	hearHangups()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		m, s := seeded(t)
		for _, args := range [][]string{{"generate", "refresh", "new"}, {"rotate", "ci"}} {
			r, w := fullPipe(t)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			c := m.command(ctx, args...)
			var stderr bytes.Buffer
			c.Stdout, c.Stderr = w, &stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			eventually(t, "the token is made", func() bool { return inWrite(itoa(c.Process.Pid)) })
			c.Process.Signal(sig)
			time.Sleep(50 * time.Millisecond)
			r.Close()
			c.Wait()
			if code := c.ProcessState.ExitCode(); ctx.Err() != nil || code != 130 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("%v, %v: exit %d: %s", args, sig, code, stderr.String())
			}
			cancel()
		}
		m.must(s.refresh, "verify")
		if left := m.must("", "list", "-o", "jsonl", "--jq", ".name"); strings.Contains(left, "new") {
			t.Errorf("%v: tokens are %q", sig, left)
		}
	}
}

// A file that is there is never written to, whatever it is, and no secret is
// made for it.
func TestHostileOutputFile(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	there := filepath.Join(m.home, "there")
	put(t, there, []byte("precious"))
	link := filepath.Join(m.home, "link")
	if err := os.Symlink("elsewhere", link); err != nil {
		t.Fatal(err)
	}
	before := state(t, m.home)
	names := m.must("", "list", "--all", "-o", "name")
	for path, code := range map[string]int{
		there: 5, link: 5, m.home: 5, "/dev/full": 5, "/dev/null": 5,
		m.db(): 5, m.key(): 5,
		filepath.Join(m.home, "no", "folder"):           1,
		filepath.Join(there, "below"):                   1,
		filepath.Join(m.home, strings.Repeat("n", 300)): 1,
	} {
		for _, args := range [][]string{{"generate", "refresh", "new"}, {"rotate", "ci"}, {"exchange"}} {
			r := m.run(s.refresh, append(args, "--output-file", path)...)
			m.ends(r, code, filepath.Base(path))
			if strings.Contains(r.out+r.err, "tkr_") {
				t.Errorf("a secret all the same: %v", r)
			}
		}
	}
	if after := m.must("", "list", "--all", "-o", "name"); after != names {
		t.Errorf("tokens are\n%s\nand were\n%s", after, names)
	}
	m.must(s.refresh, "verify")
	after := state(t, m.home)
	for name := range after {
		if _, was := before[name]; !was || name != m.db() && after[name] != before[name] {
			t.Errorf("%s was made or changed", name)
		}
	}

	made := filepath.Join(m.home, "made")
	if out := m.must("", "generate", "refresh", "new", "--output-file", made); out != "" {
		t.Errorf("stdout: %q", out)
	}
	text, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	m.must(string(text), "verify")
	if info, err := os.Stat(made); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What is asked of the answer is checked before the secret is made.
func TestHostileFormatOfASecret(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	before := state(t, m.folder())
	for _, args := range [][]string{
		{"-o", "bogus"}, {"-o", "name"}, {"-o", "template={{range}}"}, {"--jq", ".["}, {"--jq", "nosuch"}, {"-o", "yaml", "--jq", "."},
		{"--copy", "bogus"}, {"--copy", "pass", "--no-copy"}, {"--color", "pink"}, {"--lifetime", "0d"},
	} {
		m.ends(m.run("", append([]string{"generate", "refresh", "new"}, args...)...), 2)
		m.ends(m.run("", append([]string{"rotate", "ci"}, args...)...), 2)
	}
	untouched(t, m.folder(), before)

	// An expression that fails on the value itself quotes nothing of it.
	r := m.run("", "generate", "refresh", "new", "-o", "json", "--jq", ".refresh_token|error")
	m.ends(r, 2, "taken back")
	if strings.Contains(r.out+r.err, "tkr_") {
		t.Errorf("the secret is in the error: %v", r)
	}
	if id := m.must("", "generate", "refresh", "new", "--jq", ".id"); !slices.Contains(strings.Fields(m.must("", "list", "-o", "name")), id) {
		t.Errorf("%q is no id", id)
	}
}

// Signals end what waits for a secret that does not come, wherever it should
// come from; nothing was changed.
func TestHostileSignals(t *testing.T) {
	t.Parallel()
	hearHangups()
	m, _ := seeded(t)
	fifo := filepath.Join(m.home, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	before := state(t, m.folder())
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for _, args := range [][]string{
			{"verify"},
			{"exchange", "-"},
			{"revoke", "--secret-stdin"},
			{"verify", "--credential-file", fifo},
			{"verify", "--credential-command", "exec sleep 1000"},
		} {
			r, w, err := os.Pipe() // from which nothing comes
			if err != nil {
				t.Fatal(err)
			}
			got := m.interrupted(sig, r, args...)
			w.Close()
			r.Close()
			m.ends(got, 130, "interrupted")
		}
	}
	untouched(t, m.folder(), before)
}

// interrupted runs a process and sends it a signal once it is waiting. One that
// comes too early ends it by itself: then it is tried again, more slowly.
func (m *machine) interrupted(sig syscall.Signal, stdin *os.File, args ...string) result {
	m.t.Helper()
	for pause := 100 * time.Millisecond; ; pause *= 4 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c := m.command(ctx, args...)
		var out, stderr bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = stdin, &out, &stderr
		if err := c.Start(); err != nil {
			m.t.Fatal(err)
		}
		time.AfterFunc(pause, func() { c.Process.Signal(sig) })
		c.Wait()
		hangs := ctx.Err() != nil
		cancel()
		r := result{args, c.ProcessState.ExitCode(), out.String(), stderr.String()}
		if hangs {
			m.t.Fatalf("%v does not end it: %v", sig, r)
		}
		if r.code != -1 || pause > 5*time.Second {
			return r
		}
	}
}

// The second signal ends a process that cannot get rid of its answer.
func TestHostileSignalWhileWriting(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	r, w := fullPipe(t)
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := m.command(ctx, "list")
	c.Stdout = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	for {
		select {
		case <-done:
			if ctx.Err() != nil {
				t.Fatal("signals do not end it")
			}
			return
		case <-time.After(100 * time.Millisecond):
			c.Process.Signal(syscall.SIGTERM)
		}
	}
}

// fullPipe is a pipe that takes nothing more.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := syscall.Write(fds[1], make([]byte, 4096)); err != nil {
			break
		}
	}
	for {
		if _, err := syscall.Write(fds[1], make([]byte, 1)); err != nil {
			break
		}
	}
	if err := syscall.SetNonblock(fds[1], false); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
}
