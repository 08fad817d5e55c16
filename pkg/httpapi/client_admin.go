package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// AddAccount implements [authority.Accounts].
func (c *Client) AddAccount(ctx context.Context, a token.Account) (token.Account, error) {
	return accounts.askAdd(ctx, c, a)
}

// escapeSegment makes any text one segment of a path: no dots that servers take
// for folders.
func escapeSegment(s string) string {
	escaped := url.PathEscape(s)
	if escaped == "." || escaped == ".." {
		return "%2E" + escaped[1:]
	}
	return escaped
}

// ownerName is the name of an owner's account. Of half an owner there is none.
func ownerName(o token.Owner) (string, error) {
	if o.Realm == "" || o.Name == "" {
		return "", nil
	}
	o, err := token.NewOwner(o.Realm, o.Name)
	return o.String(), err
}

// Account implements [authority.Accounts].
func (c *Client) Account(ctx context.Context, o token.Owner) (token.Account, error) {
	name, err := ownerName(o)
	if err != nil {
		return token.Account{}, err
	}
	return accounts.askGet(ctx, c, name)
}

// ListAccounts implements [authority.Accounts].
func (c *Client) ListAccounts(ctx context.Context, realm string, after token.Owner) iter.Seq2[token.Account, error] {
	return accounts.askList(ctx, c, writeQuery(accountQuery{realm, after}, accountFields))
}

// SetAccount implements [authority.Accounts].
func (c *Client) SetAccount(ctx context.Context, a token.Account) (token.Account, error) {
	var err error
	if a.Owner, err = token.NewOwner(a.Owner.Realm, a.Owner.Name); err != nil {
		return token.Account{}, err
	}
	return accounts.askSet(ctx, c, a)
}

// DeleteAccount implements [authority.Accounts].
func (c *Client) DeleteAccount(ctx context.Context, o token.Owner) error {
	name, err := ownerName(o)
	if err != nil {
		return err
	}
	return accounts.askDelete(ctx, c, name)
}

// SetPassword implements [authority.Accounts].
func (c *Client) SetPassword(ctx context.Context, o token.Owner, old, fresh secret.Secret) error {
	return c.do(ctx, call{
		method: "POST", path: apiPath + "/accounts:password", changes: true, want: http.StatusNoContent,
		body: wirePassword{Owner: o, Old: old.Reveal(), Password: fresh.Reveal()},
	})
}

// AddConnection implements [authority.Connections].
func (c *Client) AddConnection(ctx context.Context, conn token.Connection) (token.Connection, error) {
	return connections.askAdd(ctx, c, conn)
}

// Connection implements [authority.Connections].
func (c *Client) Connection(ctx context.Context, name string) (token.Connection, error) {
	return connections.askGet(ctx, c, name)
}

// ListConnections implements [authority.Connections].
func (c *Client) ListConnections(ctx context.Context) iter.Seq2[token.Connection, error] {
	return connections.askList(ctx, c, nil)
}

// SetConnection implements [authority.Connections].
func (c *Client) SetConnection(ctx context.Context, conn token.Connection) (token.Connection, error) {
	return connections.askSet(ctx, c, conn)
}

// DeleteConnection implements [authority.Connections].
func (c *Client) DeleteConnection(ctx context.Context, name string) error {
	return connections.askDelete(ctx, c, name)
}

// RenewClientSecret implements [authority.Connections].
func (c *Client) RenewClientSecret(ctx context.Context, name string) (token.Connection, secret.Secret, error) {
	var w wireClientSecret
	path, err := connections.path(name)
	if err == nil {
		err = c.do(ctx, call{method: "POST", path: path + "/secret", changes: true, once: true, into: &w, whole: w.whole})
	}
	if err != nil {
		return token.Connection{}, secret.Secret{}, err
	}
	return w.connection(), secret.FromText(w.ClientSecret), nil
}

// Policy implements [authority.Settings].
func (c *Client) Policy(ctx context.Context) (token.Policy, error) {
	return c.policy(ctx, call{method: "GET"})
}

// SetPolicy implements [authority.Settings].
func (c *Client) SetPolicy(ctx context.Context, settings map[string]string) (token.Policy, error) {
	return c.policy(ctx, call{method: "PATCH", body: settings, changes: true})
}

func (c *Client) policy(ctx context.Context, q call) (p token.Policy, err error) {
	var w map[string]json.RawMessage
	q.path, q.into = apiPath+"/policy", &w
	q.whole = func() bool {
		p, err = readPolicy(w)
		return err == nil
	}
	if err := c.do(ctx, q); err != nil {
		return token.Policy{}, err
	}
	return p, nil
}

// WhoAmI implements [authority.Settings].
func (c *Client) WhoAmI(ctx context.Context) (token.Identity, error) {
	var w wireIdentity
	if err := c.do(ctx, call{method: "GET", path: apiPath + "/whoami", into: &w, whole: func() bool { return w.Roles != nil }}); err != nil {
		return token.Identity{}, err
	}
	return w.identity(), nil
}

// ListKeys implements [authority.Keys].
func (c *Client) ListKeys(ctx context.Context) ([]authority.Key, error) {
	var answer struct {
		Keys []wireKey `json:"keys"`
	}
	err := c.do(ctx, call{method: "GET", path: apiPath + "/keys", into: &answer, whole: func() bool { return answer.Keys != nil }})
	if err != nil {
		return nil, err
	}
	keys := make([]authority.Key, len(answer.Keys))
	for i := range keys {
		keys[i] = answer.Keys[i].key()
	}
	return keys, nil
}

// RotateSigning implements [authority.Keys].
func (c *Client) RotateSigning(ctx context.Context, a token.Algorithm) (authority.Key, error) {
	return c.rotateKey(ctx, call{path: apiPath + "/keys:rotate", body: wireAlgorithm{a}, once: true})
}

// RotateKeyFile implements [authority.Keys]. It is not repeated when its answer
// is lost: the key file stands outside of what a transaction undoes.
func (c *Client) RotateKeyFile(ctx context.Context) (authority.Key, error) {
	return c.rotateKey(ctx, call{path: apiPath + "/keys:rotate-file"})
}

func (c *Client) rotateKey(ctx context.Context, q call) (authority.Key, error) {
	var w wireKey
	q.method, q.changes, q.into, q.whole = "POST", true, &w, w.whole
	if err := c.do(ctx, q); err != nil {
		return authority.Key{}, err
	}
	return w.key(), nil
}

// JWKS implements [authority.Keys].
func (c *Client) JWKS(ctx context.Context) ([]byte, error) {
	var set json.RawMessage
	err := c.do(ctx, call{method: "GET", path: "/.well-known/jwks.json", public: true, into: &set})
	return set, err
}

// ListAudit implements [authority.Log].
func (c *Client) ListAudit(ctx context.Context, f audit.Filter) iter.Seq2[audit.Entry, error] {
	return pages(ctx, c, "/audit", "entries", writeQuery(f, filterFields), func(w *wireEntry) (audit.Entry, error) {
		if !w.whole() {
			return audit.Entry{}, errNotWhole
		}
		return w.entry(), nil
	})
}

// VerifyAudit implements [authority.Log].
func (c *Client) VerifyAudit(ctx context.Context) (audit.Report, error) {
	var w struct {
		Broken *[]audit.Break `json:"broken"` // none is good news, so it must be there
		audit.Report
	}
	err := c.do(ctx, call{method: "GET", path: apiPath + "/audit:verify", long: true, into: &w, whole: func() bool { return w.Broken != nil }})
	if err != nil {
		return audit.Report{}, err
	}
	w.Report.Broken = *w.Broken
	return w.Report, nil
}

// Stats implements [authority.Storage].
func (c *Client) Stats(ctx context.Context) (s authority.Stats, err error) {
	err = c.do(ctx, call{method: "GET", path: apiPath + "/stats", long: true, into: &s, whole: func() bool { return s.ByKind != nil }})
	return s, err
}

// Check implements [authority.Storage].
func (c *Client) Check(ctx context.Context, deep bool) (rep authority.CheckReport, err error) {
	err = c.do(ctx, call{
		method: "GET", path: apiPath + "/check", query: writeQuery(deep, checkFields), long: true,
		into: &rep, whole: func() bool { return rep.Problems != nil },
	})
	return rep, err
}

// Backup implements [authority.Storage]. It may take as long as it likes, but
// not stand still.
func (c *Client) Backup(ctx context.Context, to io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(longFactor*c.o.Timeout, cancel)
	defer stalled.Stop()
	resp, err := c.send(ctx, call{method: "GET", path: apiPath + "/backup"}, nil, "")
	if err != nil {
		return c.told(call{}, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != backupType {
		text, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer))
		if err != nil {
			return c.told(call{}, c.lost("the answer of %s broke off: %w", c.o.Where, err))
		}
		_, err = c.understand(call{want: -1}, resp, text)
		return c.told(call{}, err)
	}
	buf := make([]byte, 64<<10)
	for {
		stalled.Reset(c.o.Timeout)
		n, err := resp.Body.Read(buf)
		stalled.Stop() // whoever takes it may be slow
		if _, writeErr := to.Write(buf[:n]); writeErr != nil {
			return writeErr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.told(call{}, c.lost("the backup from %s broke off: %w", c.o.Where, err))
		}
	}
}
