//go:build !windows

package cmd

import (
	"syscall"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// become makes this process another program.
func become(path string, args, env []string) error {
	return token.Errorf(token.ErrUsage, "the command %q cannot be run: %w", path, syscall.Exec(path, args, env))
}
