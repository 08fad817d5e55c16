//go:build amd64 || arm64

package bolt

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// superviseSyncs makes the kernel ask before each fsync and fdatasync of this
// process: the answer is the error that it gets, or 0 to let it be done
// (seccomp(2), SECCOMP_RET_USER_NOTIF). There is no way back: for a child only.
func superviseSyncs(ask func(number uint32, fd int) syscall.Errno) error {
	const (
		load, equal, give = 0x20, 0x15, 0x06 // BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
		allow, notify     = 0x7fff0000, 0x7fc00000
		noNewPrivileges   = 38
		setFilter         = 1
		flags             = 1<<0 | 1<<3 | 1<<4 // all threads, with a listener, which may not be mixed without the third
	)
	call := map[string]uintptr{"amd64": 317, "arm64": 277}[runtime.GOARCH]
	type instruction struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	code := []instruction{
		{load, 0, 0, 0}, // the number of the call
		{equal, 1, 0, syscall.SYS_FSYNC},
		{equal, 0, 1, syscall.SYS_FDATASYNC},
		{give, 0, 0, notify},
		{give, 0, 0, allow},
	}
	program := struct {
		length uint16
		code   *instruction
	}{uint16(len(code)), &code[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, noNewPrivileges, 1, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("prctl: %w", e)
	}
	listener, _, e := syscall.RawSyscall(call, setFilter, flags, uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	go answer(listener, ask)
	return nil
}

func answer(listener uintptr, ask func(uint32, int) syscall.Errno) {
	const receive, send, proceed = 0xc0502100, 0xc0182101, 1
	for {
		var question struct {
			id         uint64
			pid, flags uint32
			number     uint32
			arch       uint32
			ip         uint64
			args       [6]uint64
		}
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, listener, receive, uintptr(unsafe.Pointer(&question))); e == syscall.EINTR {
			continue
		} else if e != 0 {
			fmt.Fprintln(os.Stderr, "seccomp listener:", e)
			os.Exit(1)
		}
		reply := struct {
			id    uint64
			value int64
			err   int32
			flags uint32
		}{id: question.id, flags: proceed}
		if e := ask(question.number, int(question.args[0])); e != 0 {
			reply.err, reply.flags = -int32(e), 0
		}
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, listener, send, uintptr(unsafe.Pointer(&reply)))
	}
}
