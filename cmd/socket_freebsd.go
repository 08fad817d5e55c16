package cmd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// solLocal is SOL_LOCAL of sys/un.h.
const solLocal = 0

// peerOf asks the system who is at the other end.
func peerOf(c *net.UnixConn) (peer, error) {
	cred, err := control(c, func(fd int) (*unix.Xucred, error) {
		return unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	})
	if err != nil {
		return peer{}, os.NewSyscallError("getsockopt", err)
	}
	return peer{uid: int(cred.Uid)}, nil
}
