//go:build unix

package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// session is a program on a real terminal.
type session struct {
	t             *testing.T
	master, slave *os.File
	shown         screen // what the terminal showed
	stdout        bytes.Buffer
	cmd           *exec.Cmd
	before        term.State // of the terminal
	react         func()     // called whenever it has shown something
}

// startSession starts cmd on a terminal that only /dev/tty leads to.
func startSession(t *testing.T, cmd *exec.Cmd) *session {
	s := newSession(t, cmd)
	cmd.Stdout = &s.stdout
	s.start()
	return s
}

func newSession(t *testing.T, cmd *exec.Cmd) *session {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	cmd.ExtraFiles = []*os.File{slave}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	s := &session{t: t, master: master, slave: slave, cmd: cmd}
	s.before = s.state()
	return s
}

func (s *session) start() {
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.cmd.Process.Kill() })
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := s.master.Read(b)
			if err != nil {
				return
			}
			s.shown.Write(b[:n])
			if s.react != nil {
				s.react()
			}
		}
	}()
}

func (s *session) expect(text string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%q on the terminal", text), func() bool { return strings.Contains(s.shown.String(), text) })
}

func (s *session) send(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the program and returns its stdout and exit code.
func (s *session) end() (string, int) {
	s.t.Helper()
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return s.stdout.String(), s.cmd.ProcessState.ExitCode()
}

func (s *session) state() term.State {
	s.t.Helper()
	state, err := term.GetState(int(s.slave.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	return *state
}

func TestConfirm(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"y\n", "true"},
		{"Y\n", "true"},
		{" yes \n", "true"},
		{"\n", "false"},
		{"n\n", "false"},
		{"No\n", "false"},
		{"yep\ny\n", "true"},
		{"1\n2\nyess\n", "false"},
		{"\x04", "false"}, // Ctrl-D
		{"y\x04\x04", "true"},
	} {
		t.Run(fmt.Sprintf("%q", c.typed), func(t *testing.T) {
			t.Parallel()
			s := startSession(t, program(t, "confirm", "TERMINAL_TEST_PROMPT=delete \x1b[31m3\u202e\ntokens?"))
			s.expect("delete [31m3 tokens? [y/N] ")
			s.send(c.typed)
			if out, code := s.end(); out != fmt.Sprintf("%q <nil>\n", c.want) || code != 0 {
				t.Errorf("%q, exit %d", out, code)
			}
		})
	}
}

func TestAskGivesTheLineAndLeavesTheNext(t *testing.T) {
	s := startSession(t, program(t, "ask", "TERMINAL_TEST_PROMPT=name: ", "TERMINAL_TEST_TIMES=3"))
	s.expect("name: ")
	s.send("eins  zwei\ndrei ä\n\x04") // all at once, ahead of the second prompt
	if out, _ := s.end(); out != "\"eins  zwei\" <nil>\n\"drei ä\" <nil>\n\"\" EOF\n" {
		t.Errorf("%q", out)
	}
	eventually(t, "three prompts", func() bool { return strings.Count(s.shown.String(), "name: ") == 3 })
}

func TestSecretIsNotShown(t *testing.T) {
	const times = 100
	// On one processor the goroutine that reads comes last.
	cmd := program(t, "secret", "GOMAXPROCS=1", "TERMINAL_TEST_PROMPT=secret: ", fmt.Sprintf("TERMINAL_TEST_TIMES=%d", times))
	s := newSession(t, cmd)
	cmd.Stdout = &s.stdout
	var sent atomic.Int64
	s.react = func() { // the answer comes as fast as a machine can give it
		for n := sent.Load(); strings.Count(s.shown.String(), "secret: ") > int(n); n = sent.Add(1) {
			s.send(fmt.Sprintf("hunter%d\n", n))
		}
	}
	s.start()
	out, _ := s.end()
	var want strings.Builder
	for i := range times {
		fmt.Fprintf(&want, "\"hunter%d\" <nil>\n", i)
	}
	if out != want.String() {
		t.Errorf("read: %q", out)
	}
	eventually(t, "end of the last line", func() bool { return strings.Count(s.shown.String(), "\n") == times })
	if shown := s.shown.String(); strings.Contains(shown, "hunter") {
		t.Errorf("shown: %q", shown)
	}
	if s.state() != s.before {
		t.Error("the terminal is not as it was")
	}
}

func TestSignalEndsAPrompt(t *testing.T) {
	for _, role := range []string{"secret", "ask", "confirm"} {
		for name, interrupt := range map[string]func(*session){
			"Ctrl-C":  func(s *session) { s.send("abc\x03") },
			"SIGTERM": func(s *session) { s.cmd.Process.Signal(syscall.SIGTERM) },
			"SIGHUP":  func(s *session) { s.cmd.Process.Signal(syscall.SIGHUP) },
		} {
			t.Run(role+" "+name, func(t *testing.T) {
				t.Parallel()
				// Asked twice: the second must not wait for an answer that the
				// first one's read would swallow.
				s := startSession(t, program(t, role, "TERMINAL_TEST_PROMPT=well? ", "TERMINAL_TEST_TIMES=2"))
				s.expect("well? ")
				if changed := s.state() != s.before; changed != (role == "secret") {
					t.Errorf("mode changed at the prompt: %v", changed)
				}
				interrupt(s)
				out, code := s.end()
				if strings.Count(out, "interrupted\n") != 2 || code != 130 {
					t.Errorf("%q, exit %d", out, code)
				}
				if s.state() != s.before {
					t.Error("the terminal is not as it was")
				}
			})
		}
	}
}

func TestOpenWithoutATerminal(t *testing.T) {
	cmd := program(t, "ask")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, _ := cmd.Output(); string(out) != "no terminal\n" {
		t.Errorf("%q", out)
	}
}

func TestInteractiveAndWidth(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var buffer bytes.Buffer
	for _, c := range []struct {
		stdin, stderr any
		want          bool
	}{
		{slave, slave, true}, {slave, null, true}, {null, slave, true},
		{null, null, false}, {&buffer, &buffer, false}, {nil, nil, false}, {&buffer, slave, true},
	} {
		if got := Interactive(c.stdin, c.stderr); got != c.want {
			t.Errorf("Interactive(%T, %T) = %v", c.stdin, c.stderr, got)
		}
	}

	width := func(stream any, columns string) int { return Width(stream, env("COLUMNS="+columns)) }
	if got := width(slave, "50"); got != 50 { // a new pty has no size
		t.Errorf("unknown size, COLUMNS=50: %d", got)
	}
	for _, columns := range []string{"", "x", "-3", "0"} {
		if got := width(slave, columns); got != 80 {
			t.Errorf("unknown size, COLUMNS=%s: %d", columns, got)
		}
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	if got := width(slave, "50"); got != 132 {
		t.Errorf("132 columns: %d", got)
	}
	if got := width(null, "50") + width(&buffer, "50"); got != 0 {
		t.Errorf("no terminal: %d", got)
	}
}
