package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// conn is a connection for one question at a time.
type conn struct {
	*goldap.Conn
	raw net.Conn // below TLS
}

// within runs fn, which speaks on the connection, for as long as it may. When
// the time is over or ctx ends, the connection is cut off under it: go-ldap
// waits for writes and for the handshake of StartTLS without any limit.
func (c *conn) within(ctx context.Context, limit time.Duration, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.raw.SetDeadline(time.Unix(1, 0)) })
	err := fn()
	if !stop() {
		c.Close()
		if err != nil && !answered(err) {
			return context.Cause(ctx)
		}
	}
	return err
}

var errSilent = errors.New("no answer in time")

// tlsConfig reads the certificates.
func (d *Directory) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.address.name}
	if d.o.CAFile != "" {
		text, err := os.ReadFile(d.o.CAFile)
		if err != nil {
			return nil, d.usage("ca_file: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, d.usage("the ca_file %s holds no certificate", d.o.CAFile)
		}
	}
	if d.o.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(d.o.CertFile, d.o.KeyFile); err != nil {
			return nil, d.usage("client certificate: %v", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(d.o.CertFile, d.o.KeyFile)
			return &pair, err
		}
	}
	return c, nil
}

// dial reaches the server, as nobody yet.
func (d *Directory) dial(ctx context.Context) (*conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, d.o.DialTimeout, errSilent)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(limited, d.address.network, d.address.host)
	if err != nil {
		return nil, d.cannotTell("it cannot be reached: %w", err)
	}
	if !d.address.tls {
		c := &conn{goldap.NewConn(raw, false), raw}
		c.Start()
		if d.o.StartTLS {
			if err := c.within(ctx, d.o.DialTimeout, func() error { return c.StartTLS(d.tls) }); err != nil {
				c.Close()
				return nil, d.cannotTell("StartTLS failed: %w", said{err})
			}
		}
		return c, nil
	}
	encrypted := tls.Client(raw, d.tls)
	if err := encrypted.HandshakeContext(limited); err != nil {
		raw.Close()
		if limited.Err() != nil {
			err = context.Cause(limited)
		}
		return nil, d.cannotTell("TLS failed: %w", err)
	}
	c := &conn{goldap.NewConn(encrypted, true), raw}
	c.Start()
	return c, nil
}

// dialAndBind reaches the server, as who may search.
func (d *Directory) dialAndBind(ctx context.Context) (*conn, error) {
	var password secret.Secret
	if d.o.BindDN != "" {
		var err error
		if password, err = readPassword(d.o.BindPasswordFile); err != nil {
			return nil, d.cannotTell("bind_password_file: %w", err)
		}
	}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = c.within(ctx, d.o.Timeout, func() error {
		switch {
		case d.o.BindExternal:
			return c.ExternalBind()
		case d.o.BindDN != "":
			return c.Bind(d.o.BindDN, password.Reveal())
		}
		return nil
	})
	if err != nil {
		c.Close()
		who := d.o.BindDN
		if d.o.BindExternal {
			who = "the owner of our certificate or process (EXTERNAL)"
		}
		return nil, d.cannotTell("it refuses the bind as %s: %w", who, said{err})
	}
	return c, nil
}

// pool keeps connections for searches.
type pool struct {
	open  func(context.Context) (*conn, error)
	slots chan struct{}

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(size int, open func(context.Context) (*conn, error)) *pool {
	return &pool{open: open, slots: make(chan struct{}, size)}
}

// with runs fn on a connection. A server may have closed an idle one, unseen
// until something is said on it: so fn runs once more, on a new one, if one
// from the pool was lost.
func (p *pool) with(ctx context.Context, fn func(*conn) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		c := p.take()
		reused := c != nil
		if !reused {
			var err error
			if c, err = p.open(ctx); err != nil {
				return err
			}
		}
		err := fn(c)
		lost := err != nil && !answered(err)
		p.give(c, lost)
		if !lost || !reused || ctx.Err() != nil || errors.Is(err, errSilent) {
			return err
		}
	}
}

// take returns an idle connection, or nil.
func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() {
			return c
		}
	}
	return nil
}

func (p *pool) give(c *conn, lost bool) {
	p.mu.Lock()
	keep := !lost && !p.closed && !c.IsClosing()
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// answered reports whether an error is an answer of the server, and not that
// there is none. Codes from 200 on are go-ldap's own.
func answered(err error) bool {
	var e *goldap.Error
	return errors.As(err, &e) && e.ResultCode != goldap.LDAPResultSuccess && e.ResultCode < goldap.ErrorNetwork
}

// said has the error of go-ldap in the words of the server: the name and number
// of the code, and what it says besides.
type said struct{ error }

func (s said) Error() string {
	var e *goldap.Error
	if !errors.As(s.error, &e) {
		return s.error.Error()
	}
	if !answered(e) {
		return e.Err.Error()
	}
	text := fmt.Sprintf("%s (%d)", strings.ToLower(goldap.LDAPResultCodeMap[e.ResultCode]), e.ResultCode)
	if more := e.Err.Error(); more != "" {
		text += ": " + more
	}
	return text
}

func (s said) Unwrap() error { return s.error }

func (d *Directory) cannotTell(format string, args ...any) *token.Error {
	err := token.Errorf(token.ErrCannotTell, format, args...)
	err.Message = "the directory " + d.o.Realm + " cannot tell: " + err.Message
	return err
}
