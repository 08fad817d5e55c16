package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// maxLine is the longest answer, in bytes. A Unix terminal in line mode gives
// no more than 4096 anyway.
const maxLine = 4096

// TTY is the terminal itself, wherever stdin and stdout lead. Prompts are
// sanitised, so they are one line each. It is for one goroutine.
//
// A signal (Ctrl-C, SIGTERM, SIGHUP) ends a prompt with [ErrInterrupted], echo
// restored. From then on every prompt gives that error: the read cannot be
// called back, and would swallow the next answer.
type TTY struct {
	in, out *os.File // on Unix the same
	dead    error    // why no more prompts are possible
}

// Open opens the terminal of this process: /dev/tty, on Windows CONIN$ and
// CONOUT$. The error is [ErrNoTerminal]. Ask [Interactive] first: to have a
// terminal does not mean that somebody sits at it.
func Open() (*TTY, error) {
	t, err := openTTY()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	if !IsTerminal(t.in) {
		t.Close()
		return nil, ErrNoTerminal
	}
	return t, nil
}

// Close lets go of the terminal.
func (t *TTY) Close() error {
	if t.out == t.in {
		return t.in.Close()
	}
	return errors.Join(t.in.Close(), t.out.Close())
}

// Write writes to the terminal itself, for what must not get into a redirected
// stderr, such as the sequence that [Copy] sends.
func (t *TTY) Write(p []byte) (int, error) { return t.out.Write(p) }

// Confirm asks a yes-or-no question, to which " [y/N] " is added. Only y and
// yes are a yes; n, no, an empty line and the end of input are a no. Anything
// else is asked again, twice, and is a no then.
func (t *TTY) Confirm(question string) (bool, error) {
	for range 3 {
		answer, err := t.Ask(question + " [y/N] ")
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
	}
	return false, nil
}

// Ask shows the prompt as it is and returns the line that was typed, without
// its end. At the end of input (Ctrl-D) the error is [io.EOF].
func (t *TTY) Ask(prompt string) (string, error) {
	return t.ask(prompt, t.readLine, func(<-chan answer) {})
}

// ReadSecret is Ask without echo. Echo is off before the prompt appears, and
// back on when it returns. Ctrl-D does nothing.
func (t *TTY) ReadSecret(prompt string) (string, error) {
	fd := int(t.in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("cannot turn off echo: %w", err)
	}
	// If a signal ends it, the read that restores the mode is still waiting.
	defer term.Restore(fd, before)
	line, err := t.ask(prompt, func() (string, error) {
		line, err := term.ReadPassword(fd)
		return string(line), err
	}, func(answered <-chan answer) { awaitNoEcho(fd, before, answered) })
	if err == nil {
		fmt.Fprintln(t.out) // the end of line was not echoed either
	}
	return line, err
}

type answer struct {
	line string
	err  error
}

// ask reads, makes ready, shows the prompt, and waits for the answer or a
// signal.
func (t *TTY) ask(prompt string, read func() (string, error), ready func(<-chan answer)) (string, error) {
	if t.dead != nil {
		return "", t.dead
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	answered := make(chan answer, 1)
	go func() {
		line, err := read()
		answered <- answer{line, err}
	}()
	ready(answered)
	if _, err := io.WriteString(t.out, Sanitise(prompt)); err != nil {
		t.dead = fmt.Errorf("cannot write to the terminal: %w", err)
		return "", t.dead
	}
	select {
	case a := <-answered:
		return a.line, a.err
	case <-signals:
		t.dead = ErrInterrupted
		fmt.Fprintln(t.out)
		return "", t.dead
	}
}

// readLine takes one byte at a time, so that lines typed ahead stay in the
// terminal for the next prompt.
func (t *TTY) readLine() (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := t.in.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return strings.TrimSuffix(string(line), "\r"), nil
		case n == 1 && len(line) == maxLine:
			return "", fmt.Errorf("the answer is longer than %d bytes", maxLine)
		case n == 1:
			line = append(line, b[0])
		case err == io.EOF && len(line) > 0:
			return string(line), nil
		case err != nil:
			return "", err
		}
	}
}

// awaitNoEcho waits until the reader in the other goroutine has changed the
// terminal's mode: an answer that comes right after the prompt (from expect, or
// pasted) would be shown else. A terminal that had echo off already never
// changes; the wait is bounded for it.
func awaitNoEcho(fd int, before *term.State, answered <-chan answer) {
	for range 200 {
		if now, err := term.GetState(fd); err != nil || *now != *before || len(answered) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
