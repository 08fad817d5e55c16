package terminal

import (
	"fmt"
	"io"

	"github.com/charmbracelet/colorprofile"
)

// ColourMode is the value of --color. The zero value is [ColourAuto].
type ColourMode string

const (
	ColourAuto   ColourMode = "auto"
	ColourAlways ColourMode = "always"
	ColourNever  ColourMode = "never"
)

// ParseColourMode takes auto, always or never.
func ParseColourMode(s string) (ColourMode, error) {
	switch m := ColourMode(s); m {
	case ColourAuto, ColourAlways, ColourNever:
		return m, nil
	}
	return "", fmt.Errorf("colour mode %q is not auto, always or never", s)
}

// Colour decides whether one stream gets colour. The first that speaks wins:
// the mode, NO_COLOR (any value but the empty one, no-color.org), CLICOLOR=0,
// FORCE_COLOR or CLICOLOR_FORCE (any value but the empty one, 0 and false),
// TERM=dumb, and in the end whether the stream is a terminal.
//
// The decision is ours because colorprofile parses NO_COLOR as a boolean, does
// not know FORCE_COLOR and lets CLICOLOR_FORCE beat NO_COLOR.
func Colour(mode ColourMode, env func(string) string, isTerminal bool) bool {
	switch {
	case mode == ColourAlways:
		return true
	case mode == ColourNever:
		return false
	case env("NO_COLOR") != "":
		return false
	case env("CLICOLOR") == "0":
		return false
	case forces(env("FORCE_COLOR")), forces(env("CLICOLOR_FORCE")):
		return true
	case env("TERM") == "dumb":
		return false
	}
	return isTerminal
}

func forces(value string) bool {
	return value != "" && value != "0" && value != "false"
}

// Writer hands on to w what lipgloss has styled: without any styling if colour
// is false (the verdict of [Colour]), else in no more colours than the terminal
// has according to TERM, COLORTERM and the like, and never fewer than 16.
func Writer(w io.Writer, colour bool, env func(string) string) io.Writer {
	return &colorprofile.Writer{Forward: w, Profile: profile(colour, env)}
}

func profile(colour bool, env func(string) string) colorprofile.Profile {
	if !colour {
		return colorprofile.NoTTY
	}
	// Only what tells how many colours there are: whether to use them is
	// settled, and the library would decide it anew from NO_COLOR and the like.
	var known []string
	for _, name := range []string{"TERM", "COLORTERM", "WT_SESSION", "GOOGLE_CLOUD_SHELL", "ConEmuANSI", "ANSICON", "ANSICON_VER"} {
		if value := env(name); value != "" {
			known = append(known, name+"="+value)
		}
	}
	return max(colorprofile.Env(known), colorprofile.ANSI)
}
