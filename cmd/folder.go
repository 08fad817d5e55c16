package cmd

import (
	"context"
	"os"
	"time"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
)

// lockFolder keeps other processes that do the same out of a folder until it is
// unlocked, or this process ends however it may. Who cannot have the lock within
// 5 s goes on without, and so does who is where folders cannot be locked.
func lockFolder(ctx context.Context, folder string) (unlock func()) {
	f, err := os.Open(folder)
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = privatefile.Lock(ctx, f)
	return func() { f.Close() }
}
