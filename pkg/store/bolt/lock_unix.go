//go:build unix && !solaris && !aix

package bolt

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock takes bbolt's own lock, the flock of the file, before bbolt does: it
// would look again every 50 ms, so that of 20 processes with transactions of
// 3 ms the last would give up. Readers share that lock, and enough of them
// would keep a writer out for ever: so everybody first goes through a gate
// where nobody shares, the flock of the folder, and leaves it with the lock in
// hand. Who waits there is served in random order. A gate that somebody else
// keeps shut for half of the time is gone around.
func lock(ctx context.Context, f *os.File, write bool, timeout time.Duration) error {
	start := time.Now()
	if gate, err := os.Open(filepath.Dir(f.Name())); err == nil {
		defer gate.Close() // opens it again
		if err := flock(ctx, gate, syscall.LOCK_EX, start.Add(timeout/2), time.Millisecond); err != nil && ctx.Err() != nil {
			return err
		}
	}
	how := syscall.LOCK_SH
	if write {
		how = syscall.LOCK_EX
	}
	return flock(ctx, f, how, start.Add(timeout), 200*time.Microsecond)
}

// flock tries again after a random time of pause on average.
func flock(ctx context.Context, f *os.File, how int, until time.Time, pause time.Duration) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err == syscall.EINTR:
		case err != syscall.EWOULDBLOCK:
			return os.NewSyscallError("flock", err)
		case time.Now().After(until):
			return ErrBusy
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// release gives up the lock and the file. Closing alone would not: a mapping
// that stays keeps the lock.
func release(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
