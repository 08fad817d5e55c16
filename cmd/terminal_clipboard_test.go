//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// startX starts a real X server without a screen and returns its display.
func startX(t *testing.T) string {
	t.Helper()
	needs.Program(t, "xclip")
	xvfb := needs.Program(t, "Xvfb")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := exec.Command(xvfb, "-displayfd", "3", "-screen", "0", "64x64x8", "-nolisten", "tcp", "-noreset")
	c.ExtraFiles = []*os.File{w}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { c.Process.Signal(syscall.SIGTERM); c.Wait() })
	r.SetReadDeadline(deadline())
	// The whole line: written to a closed pipe, the rest would end the server.
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not start: %v", err)
	}
	return ":" + strings.TrimSpace(line)
}

// clipboard is what the clipboard of a display holds; "": nothing.
func clipboard(t *testing.T, display string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "xclip", "-out", "-selection", "clipboard", "-display", display)
	out, _ := c.Output() // it fails when there is nothing
	if ctx.Err() != nil {
		t.Fatal("xclip hangs")
	}
	return string(out)
}

func setClipboard(t *testing.T, display, text string) {
	t.Helper()
	c := exec.Command("xclip", "-in", "-selection", "clipboard", "-display", display)
	c.Stdin = strings.NewReader(text)
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	// A busy machine may let the one that sets it next be sooner.
	eventually(t, "the clipboard holds "+text, func() bool { return clipboard(t, display) == text })
}

// shell runs a command as the shell of a person does, in a job of its own:
// were it the terminal's first process, its end would end xclip, too.
var shell = []string{"/bin/sh", "-c", `set -m; "$0" "$@"; exit $?`}

// A person sees two labelled lines, and finds the passcode on the clipboard.
func TestTerminalGenerate(t *testing.T) {
	t.Parallel()
	display := startX(t)
	m := newMachine(t, "DISPLAY="+display, "TOKENCTL_CLIPBOARD_TIMEOUT=1h")
	m.wrap = shell
	s := m.sit(t, nil, "generate")
	s.end(0, "tokenctl: copied to the clipboard with xclip, cleared in 1h")
	lines := regexp.MustCompile(`(?m)\AUser code: +(\w{16})\nPasscode: +(tkp_\w{54})\n`).FindStringSubmatch(s.screen())
	if lines == nil {
		t.Fatalf("the screen shows %q", s.screen())
	}
	if strings.Contains(s.screen(), "\x1b]52") {
		t.Error("the secret also went to the terminal's clipboard")
	}
	m.must(lines[1]+":"+lines[2], "verify")
	if held := clipboard(t, display); held != lines[2] {
		t.Errorf("on the clipboard is %q", held)
	}
	clearerOf(t, display)
}

// It is gone after the time, unless somebody has copied something else since.
func TestTerminalClipboardIsCleared(t *testing.T) {
	t.Parallel()
	display := startX(t)
	m := newMachine(t, "DISPLAY="+display, "TOKENCTL_CLIPBOARD_TIMEOUT=1s")
	m.wrap = shell
	s := m.sit(t, nil, "generate", "refresh", "one")
	s.end(0, "cleared in 1s")
	eventually(t, "the clipboard is empty", func() bool { return clipboard(t, display) == "" })

	m.env = append(m.env, "TOKENCTL_CLIPBOARD_TIMEOUT=6s")
	s = m.sit(t, nil, "generate", "refresh", "two")
	s.end(0, "cleared in 6s")
	setClipboard(t, display, "mine")
	eventually(t, "the clearer has ended", func() bool { return findClearer(display) == "" })
	if held := clipboard(t, display); held != "mine" {
		t.Errorf("on the clipboard is %q", held)
	}
}

// What goes on the clipboard, and when nothing does.
func TestTerminalWhatIsCopied(t *testing.T) {
	t.Parallel()
	display := startX(t)
	m, _ := seeded(t, "DISPLAY="+display, "TOKENCTL_CLIPBOARD_TIMEOUT=1h")
	m.wrap = shell
	off := filepath.Join(m.home, "off.yaml")
	put(t, off, []byte("clipboard: off\n"))
	intoPipe := func(c *exec.Cmd) { c.Stdout = new(bytes.Buffer) }
	for i, c := range []struct {
		change func(*exec.Cmd)
		args   []string
		want   func(user, secret string) string // nil: nothing
	}{
		{intoPipe, nil, nil},
		{nil, []string{"--no-copy"}, nil},
		{nil, []string{"--config", off}, nil},
		{nil, []string{"--output-file", filepath.Join(m.home, "out")}, nil},
		{nil, nil, func(_, secret string) string { return secret }},
		{nil, []string{"-o", "json"}, func(_, secret string) string { return secret }},
		{nil, []string{"--copy", "code"}, func(user, _ string) string { return user }},
		{intoPipe, []string{"--copy", "pass"}, func(_, secret string) string { return secret }},
		{intoPipe, []string{"--copy", "pair"}, func(user, secret string) string { return user + ":" + secret }},
		{intoPipe, []string{"--copy", "pair", "--config", off}, nil},
	} {
		setClipboard(t, display, "before "+itoa(i))
		owner := "u" + itoa(i)
		m.must("", "admin", "user", "add", owner)
		s := m.sit(t, c.change, append([]string{"generate", "--owner", owner}, c.args...)...)
		s.end(0)
		want := "before " + itoa(i)
		if c.want != nil {
			text := s.screen()
			if out, is := s.c.Stdout.(*bytes.Buffer); is {
				text = out.String()
			}
			secret := regexp.MustCompile(`tkp_\w{54}`).FindString(text)
			if secret == "" {
				t.Fatalf("%v: no secret in %q", c.args, text)
			}
			want = c.want(secret[4:20], secret)
		}
		if c.want != nil {
			eventually(t, fmt.Sprintf("%v: on the clipboard is %.30q", c.args, want), func() bool { return clipboard(t, display) == want })
		} else if held := clipboard(t, display); held != want {
			t.Errorf("%v: on the clipboard is %.30q, not %.30q", c.args, held, want)
		}
		if said := strings.Contains(s.screen(), "clipboard"); said != (c.want != nil) {
			t.Errorf("%v: the screen shows %q", c.args, s.screen())
		}
		if pid := findClearer(display); pid != "" {
			exec.Command("kill", pid).Run()
			eventually(t, "the clearer has ended", func() bool { return findClearer(display) == "" })
		}
	}
}

// Without any clipboard there is a note and no failure; the secret is whole.
func TestTerminalWithoutClipboard(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t, "TERM=dumb")
	s := m.sit(t, func(c *exec.Cmd) { c.Env = append(c.Env, "TERM=dumb", "PATH=/nowhere") }, "generate", "refresh", "new")
	s.end(0, "tokenctl: not on the clipboard: ")
	m.must(regexp.MustCompile(`tkr_\w{54}`).FindString(s.screen()), "verify")
	s = m.sit(t, func(c *exec.Cmd) { c.Env = append(c.Env, "TERM=dumb", "PATH=/nowhere") }, "rotate", "new", "--quiet", "--yes")
	s.end(0)
	if strings.Contains(s.screen(), "tokenctl:") {
		t.Errorf("the screen shows %q", s.screen())
	}
}
