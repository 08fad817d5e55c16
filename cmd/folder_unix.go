//go:build unix && !solaris && !aix

package cmd

import (
	"context"
	"os"
	"syscall"
	"time"
)

// lockFolder keeps other processes that do the same out of a folder until it is
// unlocked, or this process ends however it may. A lock file would outlive a
// process that is killed. Who cannot have the lock within 5 s goes on without.
func lockFolder(ctx context.Context, folder string) (unlock func()) {
	f, err := os.Open(folder)
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	return func() { f.Close() }
}
