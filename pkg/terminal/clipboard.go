package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/atotto/clipboard"
)

const (
	// DefaultClearAfter is how long a copied secret stays on the clipboard.
	DefaultClearAfter = 45 * time.Second

	// toolLimit bounds every call of a clipboard tool: xclip waits for ever for
	// a display that takes the connection and does not answer (a dead tunnel).
	// A tool that is late is left alone; it ends with its display.
	toolLimit = 3 * time.Second
)

// ClipboardMode is the setting "clipboard". The zero value is [ClipboardAuto].
type ClipboardMode string

const (
	ClipboardAuto  ClipboardMode = "auto"  // this machine's clipboard, else the terminal's
	ClipboardOff   ClipboardMode = "off"   // none
	ClipboardOSC52 ClipboardMode = "osc52" // the terminal's, whatever else there is
)

// ParseClipboardMode takes auto, off or osc52.
func ParseClipboardMode(s string) (ClipboardMode, error) {
	switch m := ClipboardMode(s); m {
	case ClipboardAuto, ClipboardOff, ClipboardOSC52:
		return m, nil
	}
	return "", fmt.Errorf("clipboard mode %q is not auto, off or osc52", s)
}

// CopyOptions says how to reach a clipboard. The zero value is usable.
type CopyOptions struct {
	Mode       ClipboardMode
	ClearAfter time.Duration       // 0: DefaultClearAfter
	Env        func(string) string // nil: os.Getenv
	TTY        io.Writer           // the terminal, for OSC 52; nil: there is none
	Self       string              // absolute path of the program to start as clearer; "": this one
}

// Copied says where the secret went. The zero value: nowhere, because the mode
// is off.
type Copied struct {
	How      string        // xclip, xsel, wl-copy, pbcopy, Windows …, or OSC 52
	ClearsIn time.Duration // 0: it is not cleared by itself

	clearer int // process id
}

// String is the note for the person, like "copied to the clipboard with xclip,
// cleared in 45s". The zero value gives "".
func (c Copied) String() string {
	switch {
	case c.How == "":
		return ""
	case c.How == osc52Name:
		return "sent to the clipboard of the terminal (OSC 52), which is not cleared automatically"
	case c.ClearsIn == 0:
		return "copied to the clipboard with " + c.How + ", which is not cleared automatically"
	}
	return fmt.Sprintf("copied to the clipboard with %s, cleared in %v", c.How, c.ClearsIn)
}

// Copy puts value on the clipboard: on this machine's by one of its tools; over
// SSH, without a display, or when the tool fails, on that of the terminal by
// the OSC 52 sequence. No clipboard is [ErrNoClipboard].
//
// What a tool of this machine took is cleared after ClearAfter if it is still
// there then, by a process of its own that knows a checksum of the value (see
// [RunClearer]); Copy itself returns at once. What went to the terminal cannot
// be read back, so nobody could tell whether it is still ours, and it stays;
// tmux keeps a copy in its own buffers, too. A clipboard manager with a history
// keeps what it saw in every case, and wl-copy has the value in a file of its
// own (/tmp/wl-copy-buffer-…, mode 0600) for as long as it offers it.
//
// The tools stay in the background with the environment of this process.
func Copy(ctx context.Context, value string, o CopyOptions) (Copied, error) {
	if o.Mode == ClipboardOff {
		return Copied{}, nil
	}
	if value == "" {
		return Copied{}, errors.New("nothing to copy")
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.ClearAfter <= 0 {
		o.ClearAfter = DefaultClearAfter
	}
	why := errors.New("not by a tool of this machine, as set")
	if o.Mode != ClipboardOSC52 {
		var c Copied
		if c, why = copyWithTool(ctx, value, o); why == nil {
			return c, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return Copied{}, err
	}
	if err := copyOSC52(o.TTY, value, o.Env); err != nil {
		return Copied{}, fmt.Errorf("%w: %w; %w", ErrNoClipboard, why, err)
	}
	return Copied{How: osc52Name}, nil
}

// copyWithTool starts the clearer before it copies: from the moment when the
// value is on the clipboard, there is somebody to clear it, even if this process
// dies or the tool is late.
func copyWithTool(ctx context.Context, value string, o CopyOptions) (Copied, error) {
	tool, err := localTool(o.Env)
	if err != nil {
		return Copied{}, err
	}
	clearer, startErr := startClearer(o, value)
	if startErr == nil {
		defer clearer.release()
	}
	err = limited(ctx, func() error { return clipboard.WriteAll(value) })
	if err != nil {
		if startErr == nil && !errors.Is(err, errLate) {
			clearer.dismiss()
		}
		return Copied{}, fmt.Errorf("%s: %w", tool, err)
	}
	if startErr != nil { // better a copy that stays, and says so, than none
		return Copied{How: tool}, nil
	}
	return Copied{How: tool, ClearsIn: o.ClearAfter, clearer: clearer.pid}, nil
}

// localTool names what the clipboard package is going to use, or says why it
// would fail. That package looks for programs only, not for a display, and of a
// failure it keeps nothing but "exit status 1".
func localTool(env func(string) string) (string, error) {
	if overSSH(env) {
		return "", errors.New("over SSH the clipboard of this machine is not the person's")
	}
	switch {
	case runtime.GOOS == "windows":
		return "Windows", nil
	case runtime.GOOS == "darwin":
		return "pbcopy", nil
	case clipboard.Unsupported:
		return "", errors.New("none of wl-copy, xclip and xsel is installed")
	}
	wayland, display := displays(env)
	for _, tool := range []struct {
		usable      bool // the package considers it
		copy, paste string
		display     bool // it has what it needs
	}{
		{wayland, "wl-copy", "wl-paste", true},
		{true, "xclip", "xclip", display},
		{true, "xsel", "xsel", display},
		{true, "termux-clipboard-set", "termux-clipboard-get", true},
		{true, "clip.exe", "powershell.exe", true}, // Windows, from its Linux subsystem
	} {
		switch {
		case !tool.usable || !installed(tool.copy) || !installed(tool.paste):
		case !tool.display:
			return "", errors.New("no display (DISPLAY and WAYLAND_DISPLAY are empty)")
		default:
			return tool.copy, nil
		}
	}
	return "", errors.New("no clipboard tool fits this display")
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// errLate says that a tool may yet do what it was told.
var errLate = errors.New("no answer in time")

// limited waits for f, but neither longer than toolLimit nor than ctx lasts:
// then the error is errLate.
func limited(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errLate
	}
}
