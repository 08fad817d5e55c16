//go:build unix

package bolt

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// openFlags keep the last name from being a link, and a FIFO put there at the
// last moment from blocking.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// modesCount says that permission bits mean something.
const modesCount = true

func checkOwner(path string, info fs.FileInfo) error {
	if uid, me := owner(info), os.Geteuid(); uid != me {
		return token.Errorf(token.ErrCannotTell, "%s belongs to another user (uid %d, not %d)", path, uid, me).
			WithHint("run as the owner of the file")
	}
	return nil
}

// checkFolderOwner trusts root, who can do anything anyway.
func checkFolderOwner(folder string, info fs.FileInfo) error {
	if uid, me := owner(info), os.Geteuid(); uid != me && uid != 0 {
		return token.Errorf(token.ErrCannotTell, "the folder %s belongs to another user (uid %d, not %d)", folder, uid, me).
			WithHint("keep the store in a folder of your own")
	}
	return nil
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
