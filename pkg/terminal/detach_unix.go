//go:build unix

package terminal

import (
	"os/exec"
	"syscall"
)

// detach gives cmd a session of its own: Ctrl-C and the hang-up of our terminal
// do not reach it.
func detach(cmd *exec.Cmd) {
	cmd.Dir = "/" // keeps no file system busy
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
