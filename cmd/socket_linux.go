package cmd

import (
	"net"
	"os"
	"syscall"
)

// peerOf asks the system who is at the other end.
func peerOf(c *net.UnixConn) (peer, error) {
	cred, err := control(c, func(fd int) (*syscall.Ucred, error) {
		return syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil {
		return peer{}, os.NewSyscallError("getsockopt", err)
	}
	return peer{int(cred.Uid), int(cred.Pid)}, nil
}
