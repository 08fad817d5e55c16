package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ErrInvalidClient: whoever asks has not shown that they are the client that they
// name, or whose token they show (RFC 6749 §5.2).
var ErrInvalidClient = fmt.Errorf("invalid client: %w", token.ErrRefused)

// ClientAuth is what a client shows of itself (RFC 6749 §2.3).
type ClientAuth struct {
	ID     string           // the client_id: a connection's name
	Secret secret.Secret    // zero: none was shown
	Method token.AuthMethod // how it was shown; empty: by the only way that there is
	From   string
}

// clientUse separates the hashes of one client's secret from all others.
func clientUse(name string) secret.Use { return secret.Use{Kind: "client", Name: name} }

// AuthenticateClient says whose client somebody is. The error wraps
// [ErrInvalidClient], with a text that is the same for every reason, or
// token.ErrCannotTell.
func (l *Local) AuthenticateClient(ctx context.Context, a ClientAuth) (token.Connection, error) {
	var conn token.Connection
	err := l.view(ctx, func(r store.Reader) (err error) {
		conn, err = store.Connections.Get(r, a.ID)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return token.Connection{}, err
	}
	there := err == nil
	res, err := l.checkClientSecret(ctx, &conn, a)
	if err != nil {
		return token.Connection{}, token.Errorf(token.ErrCannotTell, "the client secret cannot be checked: %w", err)
	}
	why := Reason("")
	switch {
	case !there:
		why = UnknownClient
	case a.Method != "" && a.Method != conn.AuthMethod:
		why = WrongClientMethod
	case !conn.Confidential() && !a.Secret.IsZero():
		why = WrongClientMethod
	case conn.Confidential() && !res.OK:
		why = WrongClientSecret
	}
	if why != "" {
		return token.Connection{}, l.refuseClient(why, conn.Name, a.From)
	}
	if res.Outdated {
		l.rehashClientSecret(ctx, &conn, a)
	}
	return shownConnection(conn), nil
}

// refuseClient makes the error for a client that is not accepted. The name is
// empty if there is no such connection: the log keeps no names that strangers
// make up.
func (l *Local) refuseClient(why Reason, name, from string) error {
	if l.serving {
		l.noted.refusal(audit.Entry{Time: l.clock(), Action: credentialRefused, Object: name, Reason: string(why), Source: from}, false)
	}
	err := token.Errorf(ErrInvalidClient, "the client is not accepted: its secret is wrong, missing or not wanted").
		WithHint("tokenctl exchange --client-secret-file FILE shows the client secret of a connection that has one")
	err.Cause = &Refusal{Reason: why}
	return err
}

// checkClientSecret compares a secret with that of a connection. One that cannot
// be a client secret by its text costs nothing; any other costs one hash, whether
// there is a connection, or a secret of it, or neither.
func (l *Local) checkClientSecret(ctx context.Context, conn *token.Connection, a ClientAuth) (res secret.Result, err error) {
	if text, err := secret.Parse(a.Secret.Reveal()); err != nil || text.Form != secret.ClientSecret {
		return res, nil
	}
	if len(conn.SecretVerifier) == 0 {
		l.hasher.Fast(clientUse(a.ID), a.Secret)
		return res, nil
	}
	err = l.withKeys(func() (err error) {
		res, err = l.hasher.Check(ctx, clientUse(a.ID), a.Secret, conn.SecretVerifier)
		return err
	})
	return res, err
}

// rehashClientSecret hashes a secret, which was right, under the current key. The
// answer stands even if that cannot be written.
func (l *Local) rehashClientSecret(ctx context.Context, conn *token.Connection, a ClientAuth) {
	s := session{Local: l, caller: Caller{Via: "client " + conn.Name, From: a.From}}
	fresh := l.hasher.Fast(clientUse(a.ID), a.Secret)
	err := s.update(ctx, func(c *change) error {
		now, err := store.Connections.Get(c, conn.Name)
		if err != nil || string(now.SecretVerifier) != string(conn.SecretVerifier) {
			return err
		}
		now.SecretVerifier = fresh
		return store.Connections.Put(c, now)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		l.warn(token.Errorf(token.ErrCannotTell, "the client secret of %q could not be hashed anew: %w", conn.Name, err))
	}
}

// admitClient authenticates the client of an exchange. Where none is named it is
// that of the token's connection, which has been judged by then: who has not got
// the token learns nothing of its connection.
func (s *session) admitClient(ctx context.Context, e *Exchange, of *token.Record) error {
	a := ClientAuth{ID: e.ClientID, Secret: e.ClientSecret, Method: e.ClientMethod, From: e.From}
	if a.ID == "" {
		a.ID = of.Connection
	}
	_, err := s.AuthenticateClient(ctx, a)
	var no *Refusal
	if e.ClientID == "" && errors.As(err, &no) && no.Reason == UnknownClient {
		return &Refusal{Reason: WrongConnection, Token: of.ID} // it was deleted: the token is what is no good
	}
	return err
}

// shownConnection is a connection without what nobody is shown.
func shownConnection(c token.Connection) token.Connection {
	c.SecretVerifier = nil
	return c
}

// RenewClientSecret implements [Connections].
func (s *session) RenewClientSecret(ctx context.Context, name string) (conn token.Connection, plain secret.Secret, err error) {
	// Made outside of the transaction, which may run again.
	plain = secret.New(secret.ClientSecret, secret.NewID(s.now()))
	verifier := s.hasher.Fast(clientUse(name), plain)
	err = s.once(ctx, func(c *change) (string, error) {
		if err := c.by.needs(c, "renew client secrets", token.Admin); err != nil {
			return "", err
		}
		var err error
		if conn, err = connections.find(c, name); err != nil {
			return "", err
		}
		if !conn.Confidential() {
			return "", token.Errorf(token.ErrConflict, "the clients of connection %q are public and have no secret", name).
				WithHint("tokenctl admin connection set %s --auth-method client_secret_basic gives them one", name)
		}
		detail := "the first one"
		if !conn.SecretSince.IsZero() {
			detail = "in the place of that of " + conn.SecretSince.Format(time.RFC3339)
		}
		conn.SecretVerifier, conn.SecretSince = verifier, c.now
		conn.Revision++
		c.note(audit.Entry{Action: "connection.secret", Object: name, Detail: detail})
		return plain.Reveal(), store.Connections.Put(c, conn)
	}, func(c *change, first string) (err error) {
		plain = secret.FromText(first)
		c.note(audit.Entry{Action: "connection.secret", Object: name, Detail: replayed})
		conn, err = store.Connections.Get(c, name)
		return goneSince(err)
	})
	if err != nil {
		return token.Connection{}, secret.Secret{}, err
	}
	return shownConnection(conn), plain, nil
}
