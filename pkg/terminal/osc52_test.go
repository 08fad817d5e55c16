package terminal

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestOSC52Sequence(t *testing.T) {
	long := strings.Repeat("0123456789", 20)
	b64 := base64.StdEncoding.EncodeToString([]byte(long))
	plain := "\x1b]52;c;" + b64 + "\a"
	tmux := plain + "\x1bPtmux;\x1b" + plain + "\x1b\\"
	gnu := plain + "\x1bP\x1b]52;c;" + b64[:76] + "\x1b\\\x1bP" + b64[76:152] + "\x1b\\\x1bP" + b64[152:228] + "\x1b\\\x1bP" + b64[228:] + "\a\x1b\\"
	for _, c := range []struct{ env, want string }{
		{"TERM=xterm-256color", plain},
		{"TERM=tmux-256color TMUX=/tmp/x", tmux},
		{"TERM=screen-256color TMUX=/tmp/x", tmux},
		{"TERM=tmux-256color", tmux},
		{"TERM=screen STY=1.x", gnu},
		{"TERM=xterm STY=1.x", gnu},
		{"TERM=screen.xterm-256color", gnu},
	} {
		if got := osc52Sequence(long, env(strings.Fields(c.env)...)); got != c.want {
			t.Errorf("%s: %q, want %q", c.env, got, c.want)
		}
	}
}

func TestCopyChoosesTheTerminal(t *testing.T) {
	const sequence = "\x1b]52;c;dmFsdWU=\a"
	for _, c := range []struct {
		name string
		mode ClipboardMode
		env  string
	}{
		{"as set", ClipboardOSC52, "TERM=xterm DISPLAY=:0 WAYLAND_DISPLAY=wayland-0"},
		{"over SSH, even with X forwarded", ClipboardAuto, "TERM=xterm SSH_CONNECTION=x DISPLAY=:0"},
		{"over SSH", "", "TERM=xterm SSH_TTY=/dev/pts/1"},
	} {
		var tty strings.Builder
		got, err := Copy(context.Background(), "value", CopyOptions{Mode: c.mode, Env: env(strings.Fields(c.env)...), TTY: &tty})
		if err != nil || got != (Copied{How: "OSC 52"}) || tty.String() != sequence {
			t.Errorf("%s: %+v, %v, %q", c.name, got, err, tty.String())
		}
		if !strings.Contains(got.String(), "not cleared") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestCopyWithoutAnyClipboard(t *testing.T) {
	for _, c := range []struct {
		name, env string
		tty       bool
		want      string
	}{
		{"SSH without a terminal", "TERM=xterm SSH_TTY=x DISPLAY=:0", false, "over SSH"},
		{"dumb terminal", "TERM=dumb SSH_TTY=x", true, `"dumb"`},
		{"Linux console", "TERM=linux SSH_TTY=x", true, `"linux"`},
	} {
		var tty strings.Builder
		o := CopyOptions{Env: env(strings.Fields(c.env)...)}
		if c.tty {
			o.TTY = &tty
		}
		got, err := Copy(context.Background(), "hunter2", o)
		if got != (Copied{}) || !errors.Is(err, ErrNoClipboard) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if tty.String() != "" {
			t.Errorf("%s: %q", c.name, tty.String())
		}
	}
}

func TestCopyOff(t *testing.T) {
	var tty strings.Builder
	got, err := Copy(context.Background(), "value", CopyOptions{Mode: ClipboardOff, Env: env("TERM=xterm", "DISPLAY=:0"), TTY: &tty})
	if got != (Copied{}) || err != nil || got.String() != "" || tty.String() != "" {
		t.Errorf("%+v, %v, %q", got, err, tty.String())
	}
}

func TestCopyOfNothingIsRefused(t *testing.T) {
	var tty strings.Builder
	if _, err := Copy(context.Background(), "", CopyOptions{Env: env("TERM=xterm"), TTY: &tty}); err == nil || tty.String() != "" {
		t.Errorf("%v, %q", err, tty.String())
	}
}
