package terminal

import (
	"strings"
	"testing"
)

func TestColour(t *testing.T) {
	for _, c := range []struct {
		mode       ColourMode
		env        string // space-separated
		isTerminal bool
		want       bool
	}{
		// The last word: the terminal.
		{ColourAuto, "", true, true},
		{ColourAuto, "", false, false},
		{"", "", true, true},
		{"", "", false, false},
		{ColourAuto, "TERM=xterm-256color", true, true},
		{ColourAuto, "TERM=xterm-256color", false, false},
		// Each word alone, against what stands behind it.
		{ColourAuto, "TERM=dumb", true, false},
		{ColourAuto, "FORCE_COLOR=1", false, true},
		{ColourAuto, "FORCE_COLOR=yes TERM=dumb", false, true},
		{ColourAuto, "CLICOLOR_FORCE=1", false, true},
		{ColourAuto, "CLICOLOR_FORCE=1 TERM=dumb", false, true},
		{ColourAuto, "CLICOLOR=0", true, false},
		{ColourAuto, "CLICOLOR=0 FORCE_COLOR=1", true, false},
		{ColourAuto, "CLICOLOR=0 CLICOLOR_FORCE=1", true, false},
		{ColourAuto, "NO_COLOR=1", true, false},
		{ColourAuto, "NO_COLOR=yes", true, false},
		{ColourAuto, "NO_COLOR=0", true, false},
		{ColourAuto, "NO_COLOR=1 FORCE_COLOR=1 CLICOLOR_FORCE=1 CLICOLOR=1", true, false},
		{ColourAlways, "NO_COLOR=1 CLICOLOR=0 TERM=dumb", false, true},
		{ColourNever, "FORCE_COLOR=1 CLICOLOR_FORCE=1", true, false},
		// Values that say nothing.
		{ColourAuto, "NO_COLOR=", true, true},
		{ColourAuto, "CLICOLOR=1", false, false},
		{ColourAuto, "CLICOLOR=1", true, true},
		{ColourAuto, "FORCE_COLOR=0 CLICOLOR_FORCE=0", false, false},
		{ColourAuto, "FORCE_COLOR=false", false, false},
		{ColourAuto, "FORCE_COLOR=0 CLICOLOR_FORCE=1", false, true},
		{ColourAuto, "FORCE_COLOR=", false, false},
	} {
		if got := Colour(c.mode, env(strings.Fields(c.env)...), c.isTerminal); got != c.want {
			t.Errorf("Colour(%q, %s, %v) = %v", c.mode, c.env, c.isTerminal, got)
		}
	}
}

func TestParseModes(t *testing.T) {
	for _, s := range []string{"auto", "always", "never"} {
		if m, err := ParseColourMode(s); err != nil || string(m) != s {
			t.Errorf("%s: %q, %v", s, m, err)
		}
	}
	for _, s := range []string{"auto", "off", "osc52"} {
		if m, err := ParseClipboardMode(s); err != nil || string(m) != s {
			t.Errorf("%s: %q, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "Auto", "yes", "always "} {
		if _, err := ParseColourMode(s); err == nil || !strings.Contains(err.Error(), `"`+s+`"`) {
			t.Errorf("colour mode %q: %v", s, err)
		}
		if _, err := ParseClipboardMode(s); err == nil || !strings.Contains(err.Error(), `"`+s+`"`) {
			t.Errorf("clipboard mode %q: %v", s, err)
		}
	}
}

func TestWriter(t *testing.T) {
	const styled = "\x1b[1;38;2;255;0;0mred\x1b[m"
	for _, c := range []struct {
		colour bool
		env    string
		want   string
	}{
		{false, "TERM=xterm-256color COLORTERM=truecolor", "red"},
		{true, "TERM=xterm-256color COLORTERM=truecolor", styled},
		{true, "TERM=xterm-256color", "\x1b[1;38;5;196mred\x1b[m"},
		{true, "TERM=vt220", "\x1b[1;91mred\x1b[m"},
		// Colour was decided; the library must not decide against it again.
		{true, "TERM=dumb", "\x1b[1;91mred\x1b[m"},
		{true, "", "\x1b[1;91mred\x1b[m"},
		{true, "TERM=xterm-256color NO_COLOR=1 CLICOLOR=0", "\x1b[1;38;5;196mred\x1b[m"},
	} {
		var b strings.Builder
		Writer(&b, c.colour, env(strings.Fields(c.env)...)).Write([]byte(styled))
		if b.String() != c.want {
			t.Errorf("colour %v, %s: %q, want %q", c.colour, c.env, b.String(), c.want)
		}
	}
}
