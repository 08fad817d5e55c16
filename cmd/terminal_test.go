//go:build linux

package cmd_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func deadline() time.Time { return time.Now().Add(patience) }

// sitting is a process with a terminal of its own and a person at it.
type sitting struct {
	t    *testing.T
	c    *exec.Cmd
	tty  *os.File // the person's end
	ctx  context.Context
	done chan struct{} // all that it has shown has been read

	mu    sync.Mutex
	shown bytes.Buffer
}

// sit starts a process on a terminal. Streams that are set already are not the
// terminal, which still is the one that controls the process.
func (m *machine) sit(t *testing.T, change func(*exec.Cmd), args ...string) *sitting {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s := &sitting{t: t, c: m.command(ctx, args...), ctx: ctx, done: make(chan struct{})}
	s.c.Env = append(s.c.Env, "TERM=xterm-256color")
	tty, slave := openTerminal(t)
	s.tty = tty
	if change != nil {
		change(s.c)
	}
	if s.c.Stdin == nil {
		s.c.Stdin = slave
	}
	if s.c.Stdout == nil {
		s.c.Stdout = slave
	}
	if s.c.Stderr == nil {
		s.c.Stderr = slave
	}
	s.c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: slices.Index([]any{s.c.Stdin, s.c.Stdout, s.c.Stderr}, any(slave))}
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() {
		defer close(s.done)
		for b := make([]byte, 4096); ; {
			n, err := tty.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
			if err != nil { // EIO: nobody has the terminal open any more
				return
			}
		}
	}()
	return s
}

// openTerminal makes a terminal. The person's end can be closed while somebody
// reads from it.
func openTerminal(t *testing.T) (tty, slave *os.File) {
	t.Helper()
	blocking, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer blocking.Close()
	if err := pty.Setsize(blocking, &pty.Winsize{Rows: 24, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { tty.Close() })
	return tty, slave
}

// echoes reports whether the terminal shows what is typed.
func (s *sitting) echoes() (on bool) {
	s.t.Helper()
	raw, err := s.tty.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			mode, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
			on = err == nil && mode.Lflag&unix.ECHO != 0
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return on
}

// screen is all that was shown so far.
func (s *sitting) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.shown.String(), "\r\n", "\n")
}

func (s *sitting) expect(text string) {
	s.t.Helper()
	eventually(s.t, text+" on the screen, which shows "+s.screen(), func() bool { return strings.Contains(s.screen(), text) })
}

func (s *sitting) send(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the process and checks its exit code.
func (s *sitting) end(code int, texts ...string) {
	s.t.Helper()
	s.c.Wait()
	if s.ctx.Err() != nil {
		s.t.Fatalf("it hangs, and shows %q", s.screen())
	}
	select {
	case <-s.done:
	case <-time.After(time.Second): // a process that it left behind has the terminal
	}
	if got := s.c.ProcessState.ExitCode(); got != code {
		s.t.Errorf("%v: exit %d, not %d: %q", s.c.Args[1:], got, code, s.screen())
	}
	for _, text := range texts {
		if !strings.Contains(s.screen(), text) {
			s.t.Errorf("%v: the screen does not show %q: %q", s.c.Args[1:], text, s.screen())
		}
	}
}

// Only a yes is a yes.
func TestTerminalConfirm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keys string
		code int
	}{
		"y": {"y\n", 0}, "yes": {"YES\n", 0}, "second thoughts": {"what?\nyes\n", 0},
		"n": {"n\n", 7}, "enter": {"\n", 7}, "end of input": {"\x04", 7}, "something else": {"ja\njo\nsi\n", 7}, "nearly": {"yy\n\n", 7},
		"Ctrl-C": {"\x03", 130}, "Ctrl-C after y": {"y\x03", 130},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := seeded(t)
			for verb, args := range map[string][]string{
				"revoke": {"revoke", "ci"}, "delete": {"delete", "ci"}, "suspend": {"suspend", s.id}, "revoke 2": {"revoke", "--kind", "refresh"},
			} {
				put(t, m.db(), s.db)
				before := state(t, m.folder())
				p := m.sit(t, nil, args...)
				p.expect("[y/N] ")
				p.send(c.keys)
				p.end(c.code, strings.ToLower(strings.Fields(verb)[0]))
				if c.code != 0 {
					untouched(t, m.folder(), before)
					m.must(s.refresh, "verify")
					continue
				}
				if r := m.run(s.refresh, "verify"); r.code != 3 {
					t.Errorf("%s: %v", verb, r)
				}
			}
		})
	}
}

// Where a person could be asked and was not: no terminal, or told not to ask.
// Nothing that needs a yes happens.
func TestTerminalNobodyToAsk(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	before := state(t, m.folder())
	several := []string{"revoke", "--kind", "refresh"}
	m.ends(m.run("y\n", several...), 7, "not confirmed", "hint: say --yes")
	p := m.sit(t, nil, append(several, "--no-input")...)
	p.end(7, "not confirmed")
	if strings.Contains(p.screen(), "[y/N]") {
		t.Errorf("it asks all the same: %q", p.screen())
	}
	p = m.sit(t, nil, "verify", "--no-input")
	p.end(2, "no credential")

	// The question goes to the terminal itself, wherever the streams lead.
	var out bytes.Buffer
	p = m.sit(t, func(c *exec.Cmd) { c.Stdout, c.Stdin = &out, strings.NewReader("y\ny\ny\n") }, several...)
	p.expect("revoke 2 tokens? [y/N] ")
	p.send("n\n")
	p.end(7)
	if out.Len() > 0 {
		t.Errorf("stdout holds %q", out.String())
	}
	untouched(t, m.folder(), before)
	m.must(s.refresh, "verify")
}

// While the question stands, others may change what it is about: what was shown
// is what is changed, or nothing is.
func TestTerminalChangedWhileAsked(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	p := m.sit(t, nil, "delete", "ci")
	p.expect("[y/N] ")
	fresh := m.must("", "rotate", "ci") // and the lock is not held
	p.send("y\n")
	p.end(5, "changed meanwhile")
	m.must(fresh, "verify")

	p = m.sit(t, nil, "delete", "ci")
	p.expect("[y/N] ")
	p.tty.Close() // the window is closed
	p.c.Wait()
	if p.ctx.Err() != nil {
		t.Fatal("it outlives its terminal")
	}
	m.must(fresh, "verify")
}

// A secret that is typed is not shown, and the terminal is left as it was.
func TestTerminalHiddenPrompt(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	for _, c := range []struct {
		args []string
		keys string
		code int
	}{
		{[]string{"verify"}, s.pair + "\n", 0},
		{[]string{"verify"}, "tkp_wrong\n", 3},
		{[]string{"verify"}, "\n", 2},
		{[]string{"verify"}, s.pair[:20] + "\x03", 130},
		{[]string{"revoke", "--secret-stdin"}, s.refresh[:20] + "\x03", 130},
		{[]string{"exchange", "--no-copy"}, s.refresh + "\n", 0},
		{[]string{"admin", "explain"}, s.revoked + "\n", 0},
	} {
		p := m.sit(t, nil, c.args...)
		p.expect(": ")
		if p.echoes() {
			t.Errorf("%v: echo is on", c.args)
		}
		p.send(c.keys)
		p.end(c.code)
		for _, text := range []string{s.pair[21:], s.refresh[4:], s.revoked[4:], "wrong"} {
			if strings.Contains(p.screen(), text[:min(len(text), 16)]) && !strings.Contains(strings.Join(c.args, " "), "explain") && c.code != 0 {
				t.Errorf("%v: what was typed is on the screen: %q", c.args, p.screen())
			}
		}
		clean(t, "the screen", []byte(p.screen()), s.pair, s.refresh, s.revoked)
		if !p.echoes() {
			t.Errorf("%v: echo is off afterwards", c.args)
		}
	}
	m.must(s.refresh, "verify")
}

// nasty is text that plays with a terminal in every way we know of.
const nasty = "a\x1b[2J\x1b]0;pwned\x07\x1b]52;c;cHduZWQ=\x07\x9b31m\u009b31m\u202ebackwards\u2066\u200bzero\rover\bback\x7f\u2028next\nline\ttab"

var (
	colours  = regexp.MustCompile("\x1b\\[[0-9;]*m")
	harmless = regexp.MustCompile(`^[\n\t\x20-\x7e\x{fffd}…·]*$`)
)

// Text from outside never reaches a terminal as it is, in no format and in no
// message.
func TestTerminalNastyText(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	m.must("", "admin", "user", "add", "mallory", "--display-name", nasty)
	m.must("", "generate", "--owner", "mallory")
	m.must("", "revoke", "ci", "--reason", nasty)
	list := [][]string{
		{"show", nasty}, {"list", "--owner", nasty}, {"list", "--name", nasty + "["}, {"list", "-o", nasty}, {"list", "--jq", nasty}, {"list", "-o", "template={{" + nasty},
		{"generate", "refresh", nasty}, {"generate", nasty}, {"generate", "refresh", "x", "--role", nasty}, {"generate", "refresh", "x", "--lifetime", nasty},
		{"list", "--created-after", nasty}, {"suspend", s.id, "--until", nasty}, {nasty}, {"--" + nasty}, {"list", "--config", "/" + nasty}, {"list", "--store", nasty},
		{"list", "--color", nasty}, {"list", "--timeout", nasty}, {"admin", "user", "show", nasty}, {"admin", "policy", "set", nasty, nasty}, {"admin", "connection", "add", nasty},
		{"generate", "refresh", "x", "--output-file", "/nowhere/" + nasty}, {"verify", "--credential-file", "/nowhere/" + nasty}, {"exchange", "--refresh-token-command", "exit 1 #" + nasty},
		{"completion", nasty}, {"admin", "key", "rotate", nasty},
	}
	for _, format := range []string{"table", "wide", "json", "jsonl", "yaml", "csv", "name", "raw", "template={{.display_name}}{{.revoked_reason}}{{.reason}}"} {
		for _, args := range [][]string{
			{"admin", "user", "list"}, {"admin", "user", "show", "mallory"}, {"list", "--all", "--all-owners"}, {"show", s.id}, {"admin", "audit", "list"},
		} {
			list = append(list, append(args, "-o", format))
		}
	}
	list = append(list, []string{"admin", "user", "show", "mallory", "--jq", ".display_name"}, []string{"__complete", "generate", "--owner", ""})
	work := make(chan []string)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for args := range work {
				t.Run("", func(t *testing.T) {
					p := m.sit(t, nil, args...)
					p.c.Wait()
					<-p.done
					text := colours.ReplaceAllString(p.screen(), "")
					// Whoever asks for a string as it is gets its line ends, too.
					if !harmless.MatchString(text) || strings.Contains(text, "\nline") && !slices.Contains(args, "--jq") {
						t.Errorf("%q shows %q", args, text)
					}
				})
			}
		})
	}
	for _, args := range list {
		work <- args
	}
	close(work)
	workers.Wait()
}

// Who decides on colour, in which order.
func TestTerminalColour(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	for _, c := range []struct {
		env      []string
		args     []string
		terminal bool
		want     bool
	}{
		{nil, nil, true, true},
		{nil, nil, false, false},
		{nil, []string{"--color", "never"}, true, false},
		{nil, []string{"--color", "always"}, false, true},
		{[]string{"NO_COLOR=1"}, nil, true, false},
		{[]string{"NO_COLOR=0"}, nil, true, false},
		{[]string{"NO_COLOR="}, nil, true, true},
		{[]string{"NO_COLOR=1"}, []string{"--color", "always"}, true, true},
		{[]string{"NO_COLOR=1", "FORCE_COLOR=1"}, nil, true, false},
		{[]string{"CLICOLOR=0"}, nil, true, false},
		{[]string{"CLICOLOR_FORCE=1"}, nil, false, true},
		{[]string{"FORCE_COLOR=1", "TERM=dumb"}, nil, false, true},
		{[]string{"TERM=dumb"}, nil, true, false},
		{[]string{"TOKENCTL_COLOR=never"}, nil, true, false},
	} {
		var out bytes.Buffer
		p := m.sit(t, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, c.env...)
			if !c.terminal {
				cmd.Stdout = &out
			}
		}, append([]string{"list"}, c.args...)...)
		p.end(0)
		if got := colours.MatchString(p.screen() + out.String()); got != c.want {
			t.Errorf("%v %v on a terminal %v: colour %v", c.env, c.args, c.terminal, got)
		}
		if strings.Contains(colours.ReplaceAllString(p.screen()+out.String(), ""), "\x1b") {
			t.Errorf("%v %v: more than colour in %q", c.env, c.args, p.screen())
		}
	}
}
