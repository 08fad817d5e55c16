package cmd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerOf asks the system who is at the other end.
func peerOf(c *net.UnixConn) (peer, error) {
	p, err := control(c, func(fd int) (peer, error) {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return peer{}, err
		}
		pid, _ := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID) // for messages alone
		return peer{int(cred.Uid), pid}, nil
	})
	return p, os.NewSyscallError("getsockopt", err)
}
