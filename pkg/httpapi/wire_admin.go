package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// wireAccount is an account. Of what is sent to change one, the fields that
// only the server sets do not count.
type wireAccount struct {
	Owner       token.Owner         `json:"owner"`
	Kind        token.AccountKind   `json:"kind"`
	DisplayName orNull[string]      `json:"display_name"`
	Roles       roleList            `json:"roles"`
	Steward     orNull[token.Owner] `json:"steward"`
	Status      string              `json:"status"` // active or disabled
	CreatedAt   orNull[time.Time]   `json:"created_at"`
	CreatedBy   orNull[token.Owner] `json:"created_by"`
	Revision    uint64              `json:"revision"`
	// What a directory has said, and whether there is a password. A request that
	// holds them changes nothing by it.
	EntryID        orNull[string]    `json:"entry_id"`
	DirectoryRoles roleList          `json:"directory_roles"`
	RolesAt        orNull[time.Time] `json:"roles_at"`
	HasPassword    bool              `json:"has_password"`
	WrongPasswords int               `json:"wrong_passwords"`
	// Identities are changed by linking and unlinking alone.
	Identities orEmpty[wireIdentityLink] `json:"identities"`
}

// wirePassword is a new password, and the old one if it is the caller's own.
type wirePassword struct {
	Owner    token.Owner `json:"owner,omitzero"` // zero: the caller
	Old      string      `json:"old_password,omitempty"`
	Password string      `json:"password"`
}

// The states of an account.
const (
	accountActive   = "active"
	accountDisabled = "disabled"
)

var accounts = named[token.Account, wireAccount]{
	what: "account", plural: "accounts", naming: byOwner, name: func(a token.Account) string { return a.Owner.String() },
	toWire: toWireAccount, fromWire: (*wireAccount).account, whole: (*wireAccount).whole,
	fresh: func(string) token.Account { return token.Account{} },
	get: func(s authority.Service, ctx context.Context, name string) (token.Account, error) {
		o, err := token.ParseOwner(name)
		if err != nil {
			return token.Account{}, err
		}
		return s.Account(ctx, o)
	},
	add: authority.Service.AddAccount, set: authority.Service.SetAccount,
	remove: func(s authority.Service, ctx context.Context, name string) error {
		o, err := token.ParseOwner(name)
		if err != nil {
			return err
		}
		return s.DeleteAccount(ctx, o)
	},
}

// byOwner is for what has the name of an owner, realm/name.
var byOwner = naming{
	field:   "owner",
	pattern: "/{realm}/{name...}",
	of: func(r *http.Request) (string, error) {
		o, err := ownerOf(r)
		return o.String(), err
	},
	segments: func(name string) []string {
		realm, name, _ := strings.Cut(name, "/")
		return []string{realm, name}
	},
	check: func(_, name string) error {
		_, err := token.ParseOwner(name)
		return err
	},
}

// ownerOf is the owner in a path. The name is all of its end: net/http finds no
// segment that is nothing but an escaped slash.
func ownerOf(r *http.Request) (token.Owner, error) {
	if r.PathValue("name") == "" {
		return token.Owner{}, token.Errorf(token.ErrNotFound, "there is no %s here", r.URL.Path)
	}
	return token.NewOwner(r.PathValue("realm"), r.PathValue("name"))
}

func toWireAccount(a token.Account) wireAccount {
	w := wireAccount{
		Owner: a.Owner, Kind: a.Kind, DisplayName: some(a.DisplayName), Roles: a.Roles, Steward: some(a.Steward),
		Status: accountActive, CreatedAt: some(a.CreatedAt), CreatedBy: some(a.CreatedBy), Revision: a.Revision,
		EntryID: some(a.EntryID), DirectoryRoles: a.DirectoryRoles, RolesAt: some(a.RolesAt),
		HasPassword: a.HasPassword, WrongPasswords: a.WrongPasswords, Identities: toWireLinks(a.Identities),
	}
	if a.Disabled {
		w.Status = accountDisabled
	}
	return w
}

func (w *wireAccount) account() (token.Account, error) {
	switch w.Status {
	case accountActive, accountDisabled:
	default:
		return token.Account{}, token.Errorf(token.ErrUsage, "status %q is not active or disabled", w.Status)
	}
	return token.Account{
		Owner: w.Owner, Kind: w.Kind, DisplayName: w.DisplayName.v, Roles: w.Roles.items(), Steward: w.Steward.v,
		Disabled: w.Status == accountDisabled, CreatedAt: w.CreatedAt.v, CreatedBy: w.CreatedBy.v, Revision: w.Revision,
		EntryID: w.EntryID.v, DirectoryRoles: w.DirectoryRoles.items(), RolesAt: w.RolesAt.v,
		HasPassword: w.HasPassword, WrongPasswords: w.WrongPasswords, Identities: fromWireLinks(w.Identities),
	}, nil
}

func (w *wireAccount) whole() bool { return !w.Owner.IsZero() && w.Revision > 0 }

// wireConnection is the OAuth settings of a tenant.
type wireConnection struct {
	Name           string            `json:"name"`
	EntityID       string            `json:"entity_id"`
	AccessLifetime wireDuration      `json:"access_lifetime"`
	RoleClaim      string            `json:"role_claim"`
	Roles          roleList          `json:"roles"`
	Algorithm      token.Algorithm   `json:"algorithm"`
	Rotate         bool              `json:"rotate"`
	Reuse          token.Reuse       `json:"reuse"`
	RetryWindow    wireDuration      `json:"retry_window"`
	AuthMethod     token.AuthMethod  `json:"auth_method"`
	SecretSince    orNull[time.Time] `json:"secret_since"` // of no effect in a request
	CreatedAt      orNull[time.Time] `json:"created_at"`
	Revision       uint64            `json:"revision"`
}

// wireClientSecret is a connection with its new client secret.
type wireClientSecret struct {
	wireConnection
	ClientSecret string `json:"client_secret"`
}

func (w *wireClientSecret) whole() bool { return w.wireConnection.whole() && w.ClientSecret != "" }

var connections = named[token.Connection, wireConnection]{
	what: "connection", plural: "connections", naming: byName, name: func(c token.Connection) string { return c.Name },
	toWire: toWireConnection, fromWire: func(w *wireConnection) (token.Connection, error) { return w.connection(), nil },
	whole: (*wireConnection).whole, fresh: token.NewConnection,
	list: authority.Service.ListConnections, get: authority.Service.Connection,
	add: authority.Service.AddConnection, set: authority.Service.SetConnection, remove: authority.Service.DeleteConnection,
}

func toWireConnection(c token.Connection) wireConnection {
	return wireConnection{
		Name: c.Name, EntityID: c.EntityID, AccessLifetime: wireDuration(c.AccessLifetime), RoleClaim: c.RoleClaim,
		Roles: c.Roles, Algorithm: c.Algorithm, Rotate: c.Rotate, Reuse: c.Reuse, RetryWindow: wireDuration(c.RetryWindow),
		AuthMethod: c.AuthMethod, SecretSince: some(c.SecretSince), CreatedAt: some(c.CreatedAt), Revision: c.Revision,
	}
}

func (w *wireConnection) connection() token.Connection {
	return token.Connection{
		Name: w.Name, EntityID: w.EntityID, AccessLifetime: time.Duration(w.AccessLifetime), RoleClaim: w.RoleClaim,
		Roles: w.Roles.items(), Algorithm: w.Algorithm, Rotate: w.Rotate, Reuse: w.Reuse, RetryWindow: time.Duration(w.RetryWindow),
		AuthMethod: w.AuthMethod, SecretSince: w.SecretSince.v, CreatedAt: w.CreatedAt.v, Revision: w.Revision,
	}
}

func (w *wireConnection) whole() bool { return w.Name != "" && w.Revision > 0 }

// Fields of the policy that nobody sets.
const (
	policyRevision = "revision"
	policyLongest  = "longest_access_lifetime"
)

// wirePolicy is the settings by name, and what else there is to know.
type wirePolicy map[string]any

func toWirePolicy(p token.Policy) wirePolicy {
	w := wirePolicy{policyRevision: p.Revision, policyLongest: token.FormatDuration(p.LongestAccessLifetime)}
	for _, f := range token.PolicyFields() {
		w[f.Name] = f.Get(&p)
	}
	return w
}

// readPolicy reads an answer. A setting that is not known here is of a newer
// server, and none that is known may be missing.
func readPolicy(w map[string]json.RawMessage) (p token.Policy, err error) {
	for _, f := range token.PolicyFields() {
		var text string
		if err := json.Unmarshal(w[f.Name], &text); err != nil {
			return p, err
		}
		if err := f.Set(&p, text); err != nil {
			return p, err
		}
	}
	var longest wireDuration
	if err := json.Unmarshal(w[policyLongest], &longest); err != nil {
		return p, err
	}
	p.LongestAccessLifetime = time.Duration(longest)
	return p, json.Unmarshal(w[policyRevision], &p.Revision)
}

// wireKey is a key without its secret part.
type wireKey struct {
	Use       string                  `json:"use"`
	ID        string                  `json:"id"`
	Algorithm orNull[token.Algorithm] `json:"algorithm"`
	State     string                  `json:"state"`
	CreatedAt time.Time               `json:"created_at"`
	ExpiresAt orNull[time.Time]       `json:"expires_at"`
}

func toWireKey(k authority.Key) wireKey {
	return wireKey{Use: k.Use, ID: k.ID, Algorithm: some(k.Algorithm), State: k.State, CreatedAt: k.CreatedAt, ExpiresAt: some(k.ExpiresAt)}
}

func (w *wireKey) key() authority.Key {
	return authority.Key{Use: w.Use, ID: w.ID, Algorithm: w.Algorithm.v, State: w.State, CreatedAt: w.CreatedAt, ExpiresAt: w.ExpiresAt.v}
}

func (w *wireKey) whole() bool { return w.Use != "" && w.ID != "" }

// wireEntry is an entry of the audit log.
type wireEntry struct {
	Time   time.Time           `json:"time"`
	Action string              `json:"action"`
	Actor  orNull[token.Owner] `json:"actor"`
	Via    orNull[string]      `json:"via"`
	Owner  orNull[token.Owner] `json:"owner"`
	Token  orNull[token.ID]    `json:"token"`
	Kind   orNull[string]      `json:"kind"`
	Object orNull[string]      `json:"object"`
	Reason orNull[string]      `json:"reason"`
	Detail orNull[string]      `json:"detail"`
	Source orNull[string]      `json:"source"`
	Writer string              `json:"writer"`
	Seq    uint64              `json:"seq"`
}

func toWireEntry(e audit.Entry) wireEntry {
	return wireEntry{
		Time: e.Time, Action: e.Action, Actor: some(e.Actor), Via: some(e.Via), Owner: some(e.Owner), Token: some(e.Token),
		Kind: some(e.Kind), Object: some(e.Object), Reason: some(e.Reason), Detail: some(e.Detail), Source: some(e.Source),
		Writer: e.Writer, Seq: e.Seq,
	}
}

func (w *wireEntry) entry() audit.Entry {
	return audit.Entry{
		Time: w.Time, Action: w.Action, Actor: w.Actor.v, Via: w.Via.v, Owner: w.Owner.v, Token: w.Token.v,
		Kind: w.Kind.v, Object: w.Object.v, Reason: w.Reason.v, Detail: w.Detail.v, Source: w.Source.v,
		Writer: w.Writer, Seq: w.Seq,
	}
}

func (w *wireEntry) whole() bool { return w.Seq > 0 && w.Action != "" }
