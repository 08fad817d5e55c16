package cmd

import (
	"errors"
	"os"
	"os/exec"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// become runs another program in the place of this process, as far as this
// system goes: it ends with that one's exit code.
func become(path string, args, env []string) error {
	c := &exec.Cmd{Path: path, Args: args, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := c.Run()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		return ended(c.ProcessState.ExitCode())
	}
	return token.Errorf(token.ErrUsage, "the command %q cannot be run: %w", path, err)
}
