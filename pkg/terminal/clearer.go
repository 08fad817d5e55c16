package terminal

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/atotto/clipboard"
)

// ClearerArg is the only argument of the program that [Copy] starts. A main
// that finds it calls [RunClearer] with its standard input, before anything
// else, and exits with what that returns.
const ClearerArg = "__clear-clipboard"

const (
	clearTries = 3           // another program may hold the clipboard for a moment
	clearPause = time.Second // between tries
)

// clearerEnv is what clipboard tools need to reach a display. The clearer gets
// nothing else: an environment is a place where credentials are found.
var clearerEnv = []string{
	"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE",
	"DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR",
	"PREFIX", "LD_PRELOAD", "LD_LIBRARY_PATH", // Termux, Nix
	"WSL_INTEROP", "WSL_DISTRO_NAME",
	"SystemRoot", "SystemDrive", "windir", "TEMP", "TMP", "PATHEXT", "COMSPEC",
}

// handover is what the clearer is told, on its standard input: how long to
// wait, and how to recognise the value without knowing it. The key is fresh
// every time, so the checksum is worth nothing to who has not the key, and
// nothing to anybody when the clearer has ended.
type handover struct {
	after    time.Duration
	key, sum [sha256.Size]byte
}

// handoverSize is 8 bytes of nanoseconds (big-endian), the key and the sum.
const handoverSize = 8 + 2*sha256.Size

var errHandover = errors.New("not what a clearer is told")

func newHandover(value string, after time.Duration) handover {
	h := handover{after: after}
	rand.Read(h.key[:])
	h.sum = h.sumOf(value)
	return h
}

func (h handover) sumOf(value string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.key[:])
	io.WriteString(mac, value)
	mac.Sum(sum[:0])
	return sum
}

func (h handover) recognises(value string) bool {
	sum := h.sumOf(value)
	return hmac.Equal(sum[:], h.sum[:])
}

func (h handover) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, handoverSize), uint64(h.after))
	return append(append(b, h.key[:]...), h.sum[:]...)
}

// readHandover reads exactly one handover, up to the end of r: it comes when
// the value has been copied, or when the parent has died. Less is from a parent
// that died early, more is a dismissal.
func readHandover(r io.Reader) (h handover, err error) {
	b, err := io.ReadAll(io.LimitReader(r, handoverSize+1))
	if err != nil {
		return h, err
	}
	if len(b) != handoverSize {
		return h, errHandover
	}
	if h.after = time.Duration(binary.BigEndian.Uint64(b)); h.after < 0 {
		return h, errHandover
	}
	copy(h.key[:], b[8:])
	copy(h.sum[:], b[8+sha256.Size:])
	return h, nil
}

// clearer is the process that Copy starts, as long as it waits for the end of
// its standard input.
type clearer struct {
	pid   int
	stdin *os.File
}

// startClearer starts the program itself as a clearer that outlives it: in a
// session of its own, in no folder, with no stream of ours, so that neither the
// end of the terminal ends it nor a reader of our output waits for it.
func startClearer(o CopyOptions, value string) (c clearer, err error) {
	self := o.Self
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return c, err
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return c, err
	}
	defer r.Close()

	cmd := exec.Command(self, ClearerArg)
	cmd.Stdin = r
	cmd.Env = []string{} // not nil, which would mean all of ours
	for _, name := range clearerEnv {
		if value := o.Env(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	detach(cmd)
	err = cmd.Start()
	if err == nil {
		go cmd.Wait() // in case this process is the one that lives longer
		// A pipe holds this much before anybody reads.
		_, err = w.Write(newHandover(value, o.ClearAfter).bytes())
	}
	if err != nil {
		w.Close()
		return c, err
	}
	return clearer{cmd.Process.Pid, w}, nil
}

// release starts the clearer's clock. The end of this process would, too.
func (c clearer) release() { c.stdin.Close() }

// dismiss ends the clearer, as there is nothing to clear.
func (c clearer) dismiss() { c.stdin.Write([]byte{0}) }

// RunClearer is the process that [Copy] leaves behind: it waits, reads the
// clipboard, and empties it if it still holds the value. What somebody has
// copied since stays, except in the instant between reading and emptying, which
// no clipboard lets one close. The result is an exit code; nobody reads it.
func RunClearer(stdin io.Reader) int {
	h, err := readHandover(stdin)
	if err != nil {
		return 2
	}
	time.Sleep(h.after)
	for try := range clearTries {
		if try > 0 {
			time.Sleep(clearPause)
		}
		var held string
		if limited(context.Background(), func() (err error) { held, err = clipboard.ReadAll(); return err }) != nil {
			continue
		}
		if !h.recognises(held) {
			return 0
		}
		if limited(context.Background(), func() error { return clipboard.WriteAll("") }) == nil {
			return 0
		}
	}
	return 1
}
