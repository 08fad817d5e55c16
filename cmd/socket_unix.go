//go:build linux || darwin || freebsd

package cmd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// busyHint is what to do about a file that somebody else holds and whose socket
// nobody answers on.
const busyHint = "wait until it has ended; a tokenctl serve that is starting or stopping needs a moment"

// maxSocketPath is what fits into an address: 107 bytes on Linux, 103 elsewhere.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// peer is the process at the other end of a local socket, as the system knows
// it.
type peer struct {
	uid int
	pid int // 0: not known
}

func (p peer) String() string {
	if p.pid == 0 {
		return fmt.Sprintf("a process of uid %d", p.uid)
	}
	return fmt.Sprintf("tokenctl (pid %d)", p.pid)
}

// socketPaths are where the local socket of a store may be: beside it; or, if
// that is too long for an address, in one of the folders that systems have for
// such things, under a hash of the store's path. The first that can be used is.
func socketPaths(store string, owner int) []string {
	if real, err := filepath.EvalSymlinks(store); err == nil {
		store = real
	}
	if beside := store + ".sock"; len(beside) <= maxSocketPath {
		return []string{beside}
	}
	name := fmt.Sprintf("%x.sock", sha256.Sum256([]byte(store)))[32:]
	uid := strconv.Itoa(owner)
	paths := []string{filepath.Join("/run/user", uid, "tokenctl", name), filepath.Join("/tmp", "tokenctl-"+uid, name)}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && len(dir) < maxSocketPath/2 {
		paths = append([]string{filepath.Join(dir, "tokenctl", name)}, paths...)
	}
	return paths
}

// door is the server's end of the local socket.
type door struct {
	*net.UnixListener
	path  string
	owner int
	log   *slog.Logger
}

// openDoor binds the local socket of a store whose lock is ours: what is left
// there of another serve is stale.
func openDoor(store string, log *slog.Logger) (*door, error) {
	var failed error
	for _, path := range socketPaths(store, os.Geteuid()) {
		l, err := bindSocket(path, filepath.Dir(path) != filepath.Dir(store))
		if err == nil {
			return &door{l, path, os.Geteuid(), log}, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, token.Errorf(token.ErrCannotTell, "the local socket cannot be made: %w", failed)
}

func bindSocket(path string, foreign bool) (*net.UnixListener, error) {
	if foreign {
		if err := ownFolder(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// So that it never is anybody else's to open, not for a moment.
	defer syscall.Umask(syscall.Umask(0o177))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it is long gone by then, and may be another's
	return l, nil
}

// ownFolder makes a folder that nobody else can write to.
func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a folder of ours alone", path)
	}
	return nil
}

// remove takes the socket's name away: nobody new comes, and local commands
// wait for the file.
func (d *door) remove() {
	if err := os.Remove(d.path); err != nil {
		d.log.Warn("the local socket cannot be removed", "error", err.Error())
	}
}

// Accept implements net.Listener: it lets in the owner of the file, and root.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err == nil && (p.uid == d.owner || p.uid == 0) {
			var caller authority.Caller
			if caller, err = fileOwner(userOf(p.uid)); err == nil {
				return &visitor{c, caller}, nil
			}
		}
		attrs := []any{"uid", p.uid, "pid", p.pid}
		if err != nil {
			attrs = []any{"error", err.Error()}
		}
		d.log.Warn("refused at the local socket", attrs...)
		c.Close()
	}
}

// visitor is a connection of somebody who may do what the file's owner may.
type visitor struct {
	*net.UnixConn
	caller authority.Caller
}

// holder is the other end of a local socket: a tokenctl serve that holds the
// store.
type holder struct {
	peer
	path  string
	owner int

	mu    sync.Mutex
	first net.Conn // the connection that found it, until somebody wants one
	found time.Time
}

// findHolder looks for a serve that holds the store; nil: there is none.
func findHolder(ctx context.Context, store string) *holder {
	info, err := os.Stat(store)
	if err != nil {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, path := range socketPaths(store, int(stat.Uid)) {
		h := &holder{path: path, owner: int(stat.Uid), found: time.Now()}
		if h.first, h.peer, err = h.knock(ctx); err == nil {
			return h
		}
	}
	return nil
}

// knock opens a connection, if it is one of the file's owner or root who
// listens: nobody else is told anything.
func (h *holder) knock(ctx context.Context) (net.Conn, peer, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", h.path)
	if err != nil {
		return nil, peer{}, err
	}
	p, err := peerOf(c.(*net.UnixConn))
	if err == nil && p.uid != h.owner && p.uid != 0 {
		err = fmt.Errorf("%s is listened on by %v, who does not own the store", h.path, p)
	}
	if err != nil {
		c.Close()
		return nil, p, err
	}
	return c, p, nil
}

// dial opens a connection. The first one is there already: a serve that is
// about to end still answers on it.
func (h *holder) dial(ctx context.Context) (net.Conn, error) {
	h.mu.Lock()
	c := h.first
	h.first = nil
	h.mu.Unlock()
	if c != nil {
		if time.Since(h.found) < time.Second {
			return c, nil
		}
		c.Close() // whoever is silent for long is hung up on
	}
	c, _, err := h.knock(ctx)
	return c, err
}

func (h *holder) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first != nil {
		h.first.Close()
		h.first = nil
	}
}

// control calls fn with the descriptor of a connection.
func control[T any](c *net.UnixConn, fn func(fd int) (T, error)) (value T, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return value, err
	}
	outer := raw.Control(func(fd uintptr) { value, err = fn(int(fd)) })
	return value, errors.Join(outer, err)
}
