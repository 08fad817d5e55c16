//go:build unix

package exec

import (
	"os/exec"
	"syscall"
)

// killGroup has a command be a process group, which is killed as a whole.
func killGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
