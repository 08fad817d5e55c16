package privatefile

import (
	"context"
	"os"
	"time"
)

// Lock keeps other processes that do the same out of a file or a folder, until f
// is closed or this process ends, however it may. A file whose mere existence is
// the lock would outlive a process that is killed. Lock waits until ctx ends;
// what cannot be locked at all is an error at once.
func Lock(ctx context.Context, f *os.File) error {
	for {
		locked, err := tryLock(f)
		if locked || err != nil {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
