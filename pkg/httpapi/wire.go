package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// orNull is a value whose zero is null, as the commands' JSON has it.
type orNull[T comparable] struct{ v T }

func some[T comparable](v T) orNull[T] { return orNull[T]{v} }

// MarshalJSON implements json.Marshaler.
func (o orNull[T]) MarshalJSON() ([]byte, error) {
	var zero T
	if t, isTime := any(o.v).(time.Time); o.v == zero || isTime && t.IsZero() {
		return []byte("null"), nil
	}
	return appendJSON(nil, o.v)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *orNull[T]) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*o = orNull[T]{}
		return nil
	}
	return json.Unmarshal(b, &o.v)
}

// orEmpty is [] when there are none.
type orEmpty[T any] []T

type roleList = orEmpty[token.Role]

// MarshalJSON implements json.Marshaler.
func (l orEmpty[T]) MarshalJSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return appendJSON(nil, []T(l))
}

// items are those of a list, nil if there are none, as the store has them.
func (l orEmpty[T]) items() []T {
	if len(l) == 0 {
		return nil
	}
	return l
}

// wireDuration is a duration in the text form of package token, rounded down to
// seconds. What is out of its range goes over the wire so that it is refused at
// the other end, as it would be here.
type wireDuration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d wireDuration) MarshalText() ([]byte, error) {
	if over := time.Duration(d); over > token.MaxLifetime && over < 1<<62 {
		d = wireDuration(over.Truncate(time.Second) + time.Second)
	}
	text := token.FormatDuration(time.Duration(d))
	if d < 0 && text == "-0s" {
		text = "-1s"
	}
	return []byte(text), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *wireDuration) UnmarshalText(b []byte) error {
	v, err := token.ParseDuration(string(b))
	*d = wireDuration(v)
	return err
}

// kindName is a kind of token by its name.
type kindName token.Kind

// kinds are those that have a name.
var kinds = []token.Kind{token.User, token.Service, token.Refresh, token.Access, token.Federated}

// MarshalText implements encoding.TextMarshaler.
func (k kindName) MarshalText() ([]byte, error) {
	if k == 0 {
		return nil, nil
	}
	return []byte(token.Kind(k).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *kindName) UnmarshalText(b []byte) error {
	for _, known := range kinds {
		if known.String() == string(b) {
			*k = kindName(known)
			return nil
		}
	}
	if len(b) == 0 {
		*k = 0
		return nil
	}
	return token.Errorf(token.ErrUsage, "kind %q is not user, service, refresh or access", b)
}

// changeNames say what brought a token to its revision.
var changeNames = map[token.Change]string{token.Other: "other", token.Made: "made", token.Rotated: "rotated"}

// wireToken is a token. The first fields are those of the commands' JSON.
type wireToken struct {
	ID             token.ID            `json:"id"`
	Kind           kindName            `json:"kind"`
	Name           orNull[string]      `json:"name"`
	Owner          token.Owner         `json:"owner"`
	Service        orNull[string]      `json:"service"`
	Connection     orNull[string]      `json:"connection"`
	Roles          roleList            `json:"roles"`
	Status         token.Status        `json:"status"`
	CreatedAt      time.Time           `json:"created_at"`
	CreatedBy      orNull[token.Owner] `json:"created_by"`
	ExpiresAt      orNull[time.Time]   `json:"expires_at"`
	LastUsedAt     orNull[time.Time]   `json:"last_used_at"`
	LastUsedFrom   orNull[string]      `json:"last_used_from"`
	SuspendedUntil orNull[time.Time]   `json:"suspended_until"`
	RevokedAt      orNull[time.Time]   `json:"revoked_at"`
	RevokedReason  orNull[string]      `json:"revoked_reason"`

	Audience          orNull[string]      `json:"audience"`
	SuspendedAt       orNull[time.Time]   `json:"suspended_at"`
	RevokedBy         orNull[token.Owner] `json:"revoked_by"`
	RotatedAt         orNull[time.Time]   `json:"rotated_at"`
	PreviousUntil     orNull[time.Time]   `json:"previous_until"`
	PreviousUntilUsed bool                `json:"previous_until_used"`
	LastChange        string              `json:"last_change"`
	Revision          uint64              `json:"revision"`
}

func toWireToken(t token.Token) wireToken {
	return wireToken{
		ID: t.ID, Kind: kindName(t.Kind), Name: some(t.Name), Owner: t.Owner, Service: some(t.Service), Connection: some(t.Connection),
		Roles: t.Roles, Status: t.Status, CreatedAt: t.CreatedAt, CreatedBy: some(t.CreatedBy), ExpiresAt: some(t.ExpiresAt),
		LastUsedAt: some(t.LastUsedAt), LastUsedFrom: some(t.LastUsedFrom), SuspendedUntil: some(t.SuspendedUntil),
		RevokedAt: some(t.RevokedAt), RevokedReason: some(t.RevokedReason),
		Audience: some(t.Audience), SuspendedAt: some(t.SuspendedAt), RevokedBy: some(t.RevokedBy), RotatedAt: some(t.RotatedAt),
		PreviousUntil: some(t.PreviousUntil), PreviousUntilUsed: t.PreviousUntilUsed, LastChange: changeNames[t.LastChange], Revision: t.Revision,
	}
}

func (w *wireToken) token() token.Token {
	t := token.Token{Status: w.Status, LastUsedAt: w.LastUsedAt.v, LastUsedFrom: w.LastUsedFrom.v, Record: token.Record{
		ID: w.ID, Kind: token.Kind(w.Kind), Owner: w.Owner, Name: w.Name.v, Service: w.Service.v, Connection: w.Connection.v,
		Audience: w.Audience.v, Roles: w.Roles.items(), CreatedAt: w.CreatedAt, CreatedBy: w.CreatedBy.v, ExpiresAt: w.ExpiresAt.v,
		SuspendedAt: w.SuspendedAt.v, SuspendedUntil: w.SuspendedUntil.v,
		RevokedAt: w.RevokedAt.v, RevokedBy: w.RevokedBy.v, RevokedReason: w.RevokedReason.v,
		RotatedAt: w.RotatedAt.v, PreviousUntil: w.PreviousUntil.v, PreviousUntilUsed: w.PreviousUntilUsed, Revision: w.Revision,
	}}
	for change, name := range changeNames {
		if name == w.LastChange {
			t.LastChange = change
		}
	}
	return t
}

func (w *wireToken) whole() bool { return !w.ID.IsZero() && w.Kind != 0 && !w.Owner.IsZero() }

// wireIssued is a new secret with its token.
type wireIssued struct {
	wireToken
	UserCode     string `json:"user_code,omitempty"`
	PassCode     string `json:"pass_code,omitempty"`
	Password     string `json:"password,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

func toWireIssued(i authority.Issued) wireIssued {
	w := wireIssued{wireToken: toWireToken(i.Token)}
	*w.secret() = i.Secret.Reveal()
	if i.Token.Kind == token.User {
		w.UserCode = i.Token.ID.String()
	}
	return w
}

// secret is the field that holds it.
func (w *wireIssued) secret() *string {
	switch token.Kind(w.Kind) {
	case token.User:
		return &w.PassCode
	case token.Service:
		return &w.Password
	}
	return &w.RefreshToken
}

func (w *wireIssued) issued() authority.Issued {
	return authority.Issued{Token: w.token(), Secret: secret.FromText(*w.secret())}
}

func (w *wireIssued) whole() bool { return w.wireToken.whole() && *w.secret() != "" }

// wireSpec asks for a new token.
type wireSpec struct {
	Kind       kindName      `json:"kind"`
	Owner      token.Owner   `json:"owner,omitzero"`
	Name       string        `json:"name,omitempty"`
	Service    string        `json:"service,omitempty"`
	Connection string        `json:"connection,omitempty"`
	Roles      []token.Role  `json:"roles,omitempty"`
	Lifetime   *wireDuration `json:"lifetime,omitempty"` // none: what the policy says
	Replace    bool          `json:"replace,omitempty"`
}

func toWireSpec(s token.Spec) wireSpec {
	w := wireSpec{Kind: kindName(s.Kind), Owner: s.Owner, Name: s.Name, Service: s.Service, Connection: s.Connection, Roles: s.Roles, Replace: s.Replace}
	if s.Lifetime != 0 {
		w.Lifetime = (*wireDuration)(&s.Lifetime)
	}
	return w
}

func (w *wireSpec) spec() (token.Spec, error) {
	s := token.Spec{Kind: token.Kind(w.Kind), Owner: w.Owner, Name: w.Name, Service: w.Service, Connection: w.Connection, Roles: w.Roles, Replace: w.Replace}
	if w.Lifetime == nil {
		return s, nil
	}
	s.Lifetime = time.Duration(*w.Lifetime)
	return s, token.CheckLifetime(s.Lifetime)
}

// wireIdentity says who somebody is.
type wireIdentity struct {
	Owner      orNull[token.Owner] `json:"owner"`
	Kind       orNull[kindName]    `json:"kind"`
	ID         orNull[token.ID]    `json:"id"`
	Roles      roleList            `json:"roles"`
	Service    orNull[string]      `json:"service"`
	Connection orNull[string]      `json:"connection"`
	ExpiresAt  orNull[time.Time]   `json:"expires_at"`
	// Of a JWT.
	Issuer   string    `json:"issuer,omitempty"`
	Audience string    `json:"audience,omitempty"`
	JWTID    string    `json:"jwt_id,omitempty"`
	Until    time.Time `json:"parent_expires_at,omitzero"`
	IssuedAt time.Time `json:"issued_at,omitzero"`
	Provider string    `json:"provider,omitempty"`
	Narrowed bool      `json:"narrowed,omitempty"`
}

func toWireIdentity(i token.Identity) wireIdentity {
	return wireIdentity{
		Owner: some(i.Owner), Kind: some(kindName(i.Kind)), ID: some(i.ID), Roles: i.Roles,
		Service: some(i.Service), Connection: some(i.Connection), ExpiresAt: some(i.ExpiresAt),
		Issuer: i.Issuer, Audience: i.Audience, JWTID: i.JWTID, IssuedAt: i.IssuedAt, Until: i.Until, Provider: i.Provider, Narrowed: i.Narrowed,
	}
}

func (w *wireIdentity) identity() token.Identity {
	return token.Identity{
		Kind: token.Kind(w.Kind.v), ID: w.ID.v, Owner: w.Owner.v, Roles: w.Roles.items(),
		Service: w.Service.v, Connection: w.Connection.v, ExpiresAt: w.ExpiresAt.v,
		Issuer: w.Issuer, Audience: w.Audience, JWTID: w.JWTID, IssuedAt: w.IssuedAt, Until: w.Until, Provider: w.Provider, Narrowed: w.Narrowed,
	}
}

// wireVerdict is whether a credential is accepted, and whom it stands for.
type wireVerdict struct {
	Valid *bool `json:"valid"`
	wireIdentity
}

func (w *wireVerdict) whole() bool {
	return w.Valid != nil && (!*w.Valid || !w.Owner.v.IsZero() && w.Kind.v != 0)
}

// wireExplanation says why a credential is accepted or refused.
type wireExplanation struct {
	Accepted *bool                    `json:"accepted"`
	Reason   orNull[authority.Reason] `json:"reason"`
	Text     string                   `json:"explanation"`
	Token    *wireToken               `json:"token"`
}

func toWireExplanation(e authority.Explanation) wireExplanation {
	w := wireExplanation{Accepted: &e.Accepted, Reason: some(e.Reason), Text: e.Text}
	if e.Token != nil {
		t := toWireToken(*e.Token)
		w.Token = &t
	}
	return w
}

func (w *wireExplanation) explanation() authority.Explanation {
	e := authority.Explanation{Accepted: *w.Accepted, Reason: w.Reason.v, Text: w.Text}
	if w.Token != nil {
		t := w.Token.token()
		e.Token = &t
	}
	return e
}

func (w *wireExplanation) whole() bool { return w.Accepted != nil }

// wireExchange asks for an access token.
type wireExchange struct {
	RefreshToken string       `json:"refresh_token,omitempty"`
	SubjectToken string       `json:"subject_token,omitempty"`
	Roles        []token.Role `json:"roles"` // null: all; []: none
	Resource     string       `json:"resource,omitempty"`
	ClientID     string       `json:"client_id,omitempty"`
	ClientSecret string       `json:"client_secret,omitempty"`
}

// wireAccess is the answer of RFC 6749 §5.1.
type wireAccess struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope,omitempty"`
	// RefreshToken takes the place of the one that was shown.
	RefreshToken string `json:"refresh_token,omitempty"`
}

func toWireAccess(a authority.AccessToken) wireAccess {
	return wireAccess{
		AccessToken: a.Text.Reveal(), TokenType: "Bearer", ExpiresIn: int64(a.ExpiresIn / time.Second), Scope: joinRoles(a.Roles, " "),
		RefreshToken: a.RefreshToken.Reveal(),
	}
}

func (w *wireAccess) access() authority.AccessToken {
	a := authority.AccessToken{RefreshToken: secret.FromText(w.RefreshToken), Text: secret.FromText(w.AccessToken), ExpiresIn: time.Duration(w.ExpiresIn) * time.Second, Roles: []token.Role{}}
	for _, r := range strings.Fields(w.Scope) {
		a.Roles = append(a.Roles, token.Role(r))
	}
	return a
}

// whole says whether it is an answer. A token is characters that can be seen (RFC
// 6749 §A.12): others could mean something to a terminal or a CI system's runner.
func (w *wireAccess) whole() bool {
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	return w.AccessToken != "" && w.ExpiresIn > 0 && !strings.ContainsFunc(w.AccessToken+w.RefreshToken, odd)
}

// wireRef names a token as it was seen; revision 0 is whatever it is now.
type wireRef struct {
	ID       token.ID `json:"id"`
	Revision uint64   `json:"revision,omitempty"`
}

func toWireRefs(refs []token.Ref) []wireRef {
	list := make([]wireRef, len(refs))
	for i, r := range refs {
		list[i] = wireRef(r)
	}
	return list
}

func tokenRefs(list []wireRef) ([]token.Ref, error) {
	refs := make([]token.Ref, len(list))
	for i, r := range list {
		if r.ID.IsZero() {
			return nil, token.Errorf(token.ErrUsage, "a token without id")
		}
		refs[i] = token.Ref(r)
	}
	return refs, nil
}
