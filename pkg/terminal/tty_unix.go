//go:build unix

package terminal

import (
	"os"
	"syscall"
)

func openTTY() (*TTY, error) {
	// O_NOCTTY: asking must never give a daemon a controlling terminal.
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return &TTY{in: f, out: f}, nil
}
