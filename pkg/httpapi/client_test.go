package httpapi_test

import (
	"context"
	"net"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
)

func TestClientOverMemory(t *testing.T) {
	authoritytest.Run(t, func(t *testing.T, now func() time.Time) authoritytest.Authority {
		return overTheWire(t, memory.New(), now)
	})
}

func TestClientOverBolt(t *testing.T) {
	authoritytest.Run(t, func(t *testing.T, now func() time.Time) authoritytest.Authority {
		path := filepath.Join(t.TempDir(), "tokens.db")
		if err := bolt.Create(path); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return overTheWire(t, s, now)
	})
}

// overTheWire is an authority as clients have it: each caller has a listener of
// their own, as the file's owner has the local socket.
func overTheWire(t *testing.T, s store.Store, now func() time.Time) authoritytest.Authority {
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(now()), Now: now, Federation: idp.New(idp.Options{Now: now})})
	return authoritytest.Authority{
		As: func(c authority.Caller) authority.Service {
			return newClient(t, newServer(t, l, &c), httpapi.ClientOptions{})
		},
		Maintain: l.Maintain,
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// newServer answers for an authority. With a peer, its connections are theirs.
func newServer(t *testing.T, rules httpapi.Rules, peer *authority.Caller) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Options{Rules: rules, TrustedProxies: loopback}))
	if peer != nil {
		withPeer(srv, *peer)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// withPeer makes all connections of a server those of a caller.
func withPeer(srv *httptest.Server, c authority.Caller) {
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return httpapi.WithPeer(ctx, c) }
}

func newClient(t *testing.T, srv *httptest.Server, o httpapi.ClientOptions) *httpapi.Client {
	t.Helper()
	if o.URL == "" && srv != nil {
		o.URL = srv.URL
	}
	c, err := httpapi.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
