// Package terminal is everything that tokenctl knows of the person in front of
// it: prompts, the clipboard, progress, whether to use colour, and text from
// outside made fit to be shown. It knows nothing of tokens.
package terminal

import (
	"errors"
	"runtime"
	"strconv"

	"golang.org/x/term"
)

var (
	// ErrNoTerminal says that this process has no terminal to ask on.
	ErrNoTerminal = errors.New("no terminal to ask on")
	// ErrInterrupted says that a prompt was ended by a signal (Ctrl-C, a
	// closed window, SIGTERM) instead of an answer.
	ErrInterrupted = errors.New("interrupted")
	// ErrNoClipboard says that no clipboard could be reached; the text around
	// it says why.
	ErrNoClipboard = errors.New("no clipboard")
)

// fallbackWidth is what a terminal has that does not know its own width.
const fallbackWidth = 80

// IsTerminal reports whether stream is a terminal. A stream that is no file
// (one without an Fd method) is none.
func IsTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// Interactive reports whether there is a person to ask: stdin or stderr is a
// terminal. A process of which neither is one (a CI job, cron, a service) may
// still have a controlling terminal, and would wait on it for ever.
func Interactive(stdin, stderr any) bool {
	return IsTerminal(stdin) || IsTerminal(stderr)
}

// HasDesktop reports whether a window that this process opens is one that the
// person sees. Over SSH it is not, whatever this machine has.
func HasDesktop(env func(string) string) bool {
	if overSSH(env) {
		return false
	}
	wayland, x := displays(env)
	return runtime.GOOS == "windows" || runtime.GOOS == "darwin" || wayland || x
}

func overSSH(env func(string) string) bool {
	return env("SSH_TTY") != "" || env("SSH_CONNECTION") != ""
}

func displays(env func(string) string) (wayland, x bool) {
	return env("WAYLAND_DISPLAY") != "", env("DISPLAY") != ""
}

// Width is the number of columns of stream: what the terminal says, else the
// variable COLUMNS, else 80. A stream that is no terminal has no limit: 0.
func Width(stream any, env func(string) string) int {
	if !IsTerminal(stream) {
		return 0
	}
	fd := stream.(interface{ Fd() uintptr }).Fd()
	if width, _, err := term.GetSize(int(fd)); err == nil && width > 0 {
		return width
	}
	if width, err := strconv.Atoi(env("COLUMNS")); err == nil && width > 0 {
		return width
	}
	return fallbackWidth
}
