package cmd

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/tokenctl/tokenctl/pkg/authority"
)

// busyHint is what to do about a file that somebody else holds.
const busyHint = "wait until it has ended; if it is a tokenctl serve, ask that: --server http://127.0.0.1:8470"

// door would be the server's end of a local socket. Windows tells too little
// of who is at the other end of one.
type door struct {
	net.Listener
	path string
}

func openDoor(string, *slog.Logger) (*door, error) { return nil, nil }

func (*door) remove() {}

type visitor struct {
	net.Conn
	caller authority.Caller
}

// holder would be the other end of a local socket.
type holder struct{}

func (*holder) String() string { return "" }

func findHolder(context.Context, string) *holder { return nil }

func (*holder) dial(context.Context) (net.Conn, error) { return nil, errors.ErrUnsupported }

func (*holder) close() {}
