package render

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Tokens shows tokens. Their JSON fields are a promise: more may come, none is
// renamed.
func Tokens() Kind[token.Token] {
	return Kind[token.Token]{
		Fields: tokenFields,
		Columns: []Column[token.Token]{
			{Header: "ID", Text: tokenID},
			{Header: "KIND", Text: func(t *token.Token) string { return kindText(t.Kind) }},
			{Header: "NAME", Text: func(t *token.Token) string { return t.Name }, None: "N/A", Cut: true},
			{Header: "SERVICE", Text: func(t *token.Token) string { return t.Service }, Cut: true},
			{Header: "OWNER", Text: func(t *token.Token) string { return t.Owner.String() }, Cut: true},
			{Header: "STATUS", Text: func(t *token.Token) string { return string(t.Status) }, Tone: func(t *token.Token) Tone { return statusTone(t.Status) }},
			{Header: "EXPIRES", Time: func(t *token.Token) time.Time { return t.ExpiresAt }, None: "never"},
			{Header: "LAST USED", Time: func(t *token.Token) time.Time { return t.LastUsedAt }, None: "never"},
			{Header: "LAST USED FROM", Text: func(t *token.Token) string { return t.LastUsedFrom }, Wide: true},
			{Header: "CONNECTION", Text: func(t *token.Token) string { return t.Connection }, Wide: true},
			{Header: "ROLES", Text: func(t *token.Token) string { return joinRoles(t.Roles) }, Wide: true},
			{Header: "CREATED", Time: func(t *token.Token) time.Time { return t.CreatedAt }, Wide: true},
			{Header: "CREATED BY", Text: func(t *token.Token) string { return t.CreatedBy.String() }, Wide: true},
			{Header: "SUSPENDED UNTIL", Time: func(t *token.Token) time.Time { return t.SuspendedUntil }, Wide: true},
			{Header: "REVOKED", Time: func(t *token.Token) time.Time { return t.RevokedAt }, Wide: true},
			{Header: "REASON", Text: func(t *token.Token) string { return t.RevokedReason }, Wide: true},
		},
		Name: tokenID,
	}
}

func tokenFields(f *Fields, t *token.Token) {
	f.ID("id", t.ID)
	f.Kind("kind", t.Kind)
	f.Text("name", t.Name)
	f.Owner("owner", t.Owner)
	f.Text("service", t.Service)
	f.Text("connection", t.Connection)
	f.Roles("roles", t.Roles)
	f.Text("status", string(t.Status))
	f.Time("created_at", t.CreatedAt)
	f.Owner("created_by", t.CreatedBy)
	f.Time("expires_at", t.ExpiresAt)
	f.Time("last_used_at", t.LastUsedAt)
	f.Text("last_used_from", t.LastUsedFrom)
	f.Time("suspended_until", t.SuspendedUntil)
	f.Time("revoked_at", t.RevokedAt)
	f.Text("revoked_reason", t.RevokedReason)
}

func tokenID(t *token.Token) string { return t.ID.String() }

// Issued shows new tokens with their secrets: as lines the secrets alone, as
// JSON the fields of [Tokens] and after them user_code and pass_code, password,
// or refresh_token. Raw is code:passcode, or the secret. There is no name: it
// would be a live token whose secret nobody saw.
func Issued() Kind[authority.Issued] {
	type issued = authority.Issued
	return Kind[issued]{
		Secret: true,
		Fields: func(f *Fields, i *issued) {
			tokenFields(f, &i.Token)
			f.OmitEmpty()
			f.Text("user_code", userCode(i))
			f.Text("pass_code", secretOf(i, token.User))
			f.Text("password", secretOf(i, token.Service))
			f.Text("refresh_token", secretOf(i, token.Refresh))
		},
		Columns: []Column[issued]{
			{Header: "ID", Text: func(i *issued) string { return i.Token.ID.String() }},
			{Header: "KIND", Text: func(i *issued) string { return kindText(i.Token.Kind) }},
			{Header: "NAME", Text: func(i *issued) string { return i.Token.Name }, None: "N/A", Cut: true},
			{Header: "SERVICE", Text: func(i *issued) string { return i.Token.Service }, Cut: true},
			{Header: "SECRET", Text: rawSecret},
		},
		Lines: []Column[issued]{
			{Header: "USER CODE", Text: userCode, Wide: true},
			{Header: "PASSCODE", Text: func(i *issued) string { return secretOf(i, token.User) }, Wide: true},
			{Header: "PASSWORD", Text: func(i *issued) string { return secretOf(i, token.Service) }, Wide: true},
			{Header: "REFRESH TOKEN", Text: func(i *issued) string { return secretOf(i, token.Refresh) }, Wide: true},
		},
		Raw: rawSecret,
	}
}

func userCode(i *authority.Issued) string {
	if i.Token.Kind != token.User {
		return ""
	}
	return i.Token.ID.String()
}

// secretOf is the secret if the token is of the kind.
func secretOf(i *authority.Issued, k token.Kind) string {
	if i.Token.Kind != k {
		return ""
	}
	return i.Secret.Reveal()
}

func rawSecret(i *authority.Issued) string {
	if i.Token.Kind == token.User {
		return userCode(i) + ":" + i.Secret.Reveal()
	}
	return i.Secret.Reveal()
}

// AccessTokens shows access tokens: as JSON the answer of RFC 6749 §5.1, else
// the JWT alone.
func AccessTokens() Kind[authority.AccessToken] {
	type access = authority.AccessToken
	jwt := func(a *access) string { return a.Text.Reveal() }
	return Kind[access]{
		Secret: true,
		Fields: func(f *Fields, a *access) {
			f.Text("access_token", jwt(a))
			f.Text("token_type", "Bearer")
			f.Int("expires_in", int64(a.ExpiresIn/time.Second))
			f.OmitEmpty() // RFC 6749 §3.3: a scope is not empty
			f.Text("scope", joinRoles(a.Roles))
			f.Text("refresh_token", a.RefreshToken.Reveal())
		},
		Lines: []Column[access]{{Text: jwt}},
		Raw:   jwt,
	}
}

// Verdict is the answer to whether a credential is accepted.
type Verdict struct {
	Valid    bool
	Identity token.Identity // if it is
}

// Verdicts shows the answers of verify. One that is no has nothing but that.
func Verdicts() Kind[Verdict] {
	return Kind[Verdict]{
		Fields: func(f *Fields, v *Verdict) {
			f.Bool("valid", v.Valid)
			i := v.Identity
			if !v.Valid {
				i = token.Identity{}
				f.OmitEmpty()
			}
			f.Kind("kind", i.Kind)
			f.ID("id", i.ID)
			f.Owner("owner", i.Owner)
			f.Roles("roles", i.Roles)
			f.Time("expires_at", i.ExpiresAt)
		},
		Lines: append([]Column[Verdict]{
			{Header: "VALID", Text: func(v *Verdict) string { return yesNo(v.Valid) }, Tone: func(v *Verdict) Tone { return yesNoTone(v.Valid) }},
		}, Of(Identities().Columns, func(v *Verdict) *token.Identity {
			if !v.Valid {
				return nil
			}
			return &v.Identity
		})...),
		Raw: func(v *Verdict) string { return v.Identity.Owner.String() },
	}
}

// Identities shows who somebody is, as whoami does.
func Identities() Kind[token.Identity] {
	type identity = token.Identity
	owner := func(i *identity) string { return i.Owner.String() }
	return Kind[identity]{
		Fields: func(f *Fields, i *identity) {
			f.Owner("owner", i.Owner)
			f.Kind("kind", i.Kind)
			f.ID("id", i.ID)
			f.Roles("roles", i.Roles)
			f.Text("service", i.Service)
			f.Text("connection", i.Connection)
			f.Time("expires_at", i.ExpiresAt)
		},
		Columns: []Column[identity]{
			{Header: "OWNER", Text: owner},
			{Header: "ROLES", Text: func(i *identity) string { return joinRoles(i.Roles) }},
			{Header: "KIND", Text: func(i *identity) string { return kindText(i.Kind) }, Wide: true},
			{Header: "ID", Wide: true, Text: func(i *identity) string {
				if i.ID.IsZero() {
					return ""
				}
				return i.ID.String()
			}},
			{Header: "SERVICE", Text: func(i *identity) string { return i.Service }, Wide: true},
			{Header: "CONNECTION", Text: func(i *identity) string { return i.Connection }, Wide: true},
			{Header: "EXPIRES", Time: func(i *identity) time.Time { return i.ExpiresAt }, Wide: true},
		},
		Name: owner,
	}
}

// Explanations shows why credentials are accepted or refused, with the token
// if there is one.
func Explanations() Kind[authority.Explanation] {
	type explanation = authority.Explanation
	return Kind[explanation]{
		Fields: func(f *Fields, e *explanation) {
			f.Bool("accepted", e.Accepted)
			f.Text("reason", string(e.Reason))
			f.Text("explanation", e.Text)
			if e.Token == nil {
				f.Null("token")
			} else {
				f.Object("token", func(f *Fields) { tokenFields(f, e.Token) })
			}
		},
		Lines: append([]Column[explanation]{
			{Header: "ACCEPTED", Text: func(e *explanation) string { return yesNo(e.Accepted) }, Tone: func(e *explanation) Tone { return yesNoTone(e.Accepted) }},
			{Header: "REASON", Text: func(e *explanation) string { return string(e.Reason) }, Wide: true},
			{Header: "EXPLANATION", Text: func(e *explanation) string { return e.Text }},
		}, Of(Tokens().Columns, func(e *explanation) *token.Token { return e.Token })...),
		Raw: func(e *explanation) string { return e.Text },
	}
}

// Accounts shows the owners of tokens.
func Accounts() Kind[token.Account] {
	type account = token.Account
	owner := func(a *account) string { return a.Owner.String() }
	return Kind[account]{
		Fields: func(f *Fields, a *account) {
			f.Owner("owner", a.Owner)
			f.Text("kind", string(a.Kind))
			f.Text("display_name", a.DisplayName)
			f.Roles("roles", a.Roles)
			f.Owner("steward", a.Steward)
			f.Text("status", accountStatus(a))
			f.Time("created_at", a.CreatedAt)
			f.Owner("created_by", a.CreatedBy)
			f.Text("entry_id", a.EntryID)
			f.Roles("directory_roles", a.DirectoryRoles)
			f.Time("roles_at", a.RolesAt)
			f.Bool("has_password", a.HasPassword)
			f.Objects("identities", len(a.Identities), func(f *Fields, i int) { identityFields(f, &a.Identities[i]) })
		},
		Columns: []Column[account]{
			{Header: "OWNER", Text: owner},
			{Header: "KIND", Text: func(a *account) string { return string(a.Kind) }},
			{Header: "DISPLAY NAME", Text: func(a *account) string { return a.DisplayName }, Cut: true},
			{Header: "STATUS", Text: accountStatus, Tone: func(a *account) Tone { return yesNoTone(!a.Disabled) }},
			{Header: "ROLES", Text: func(a *account) string { return joinRoles(a.AllRoles(time.Now())) }, Cut: true},
			{Header: "STEWARD", Text: func(a *account) string { return a.Steward.String() }, Wide: true},
			{Header: "IDENTITIES", Text: identityTexts, Wide: true},
			{Header: "CREATED", Time: func(a *account) time.Time { return a.CreatedAt }, Wide: true},
			{Header: "CREATED BY", Text: func(a *account) string { return a.CreatedBy.String() }, Wide: true},
		},
		Name: owner,
	}
}

func accountStatus(a *token.Account) string {
	if a.Disabled {
		return "disabled"
	}
	return "active"
}

// Connections shows the OAuth settings of tenants.
func Connections() Kind[token.Connection] {
	type connection = token.Connection
	name := func(c *connection) string { return c.Name }
	lifetime := func(c *connection) string { return token.FormatDuration(c.AccessLifetime) }
	return Kind[connection]{
		Fields: func(f *Fields, c *connection) {
			f.Text("name", c.Name)
			f.Text("entity_id", c.EntityID)
			f.Text("access_lifetime", lifetime(c))
			f.Text("role_claim", c.RoleClaim)
			f.Roles("roles", c.Roles)
			f.Text("algorithm", string(c.Algorithm))
			f.Bool("rotate", c.Rotate)
			f.Text("reuse", string(c.Reuse))
			f.Text("retry_window", token.FormatDuration(c.RetryWindow))
			f.Text("auth_method", string(c.AuthMethod))
			f.Time("secret_since", c.SecretSince)
			f.Time("created_at", c.CreatedAt)
		},
		Columns: []Column[connection]{
			{Header: "NAME", Text: name},
			{Header: "ENTITY ID", Text: func(c *connection) string { return c.EntityID }, Cut: true},
			{Header: "ACCESS LIFETIME", Text: lifetime},
			{Header: "ROLES", Text: func(c *connection) string { return joinRoles(c.Roles) }, None: "any", Cut: true},
			{Header: "ALGORITHM", Text: func(c *connection) string { return string(c.Algorithm) }},
			{Header: "ROTATES", Text: func(c *connection) string {
				if c.Rotate {
					return "yes, reuse " + string(c.Reuse)
				}
				return "no"
			}, Wide: true},
			{Header: "CLIENTS", Text: func(c *connection) string { return string(c.AuthMethod) }, Wide: true},
			{Header: "SECRET SINCE", Time: func(c *connection) time.Time { return c.SecretSince }, Wide: true},
			{Header: "ROLE CLAIM", Text: func(c *connection) string { return c.RoleClaim }, Wide: true},
			{Header: "CREATED", Time: func(c *connection) time.Time { return c.CreatedAt }, Wide: true},
		},
		Name: name,
	}
}

// ClientSecret is a connection with its new client secret.
type ClientSecret struct {
	Connection token.Connection
	Secret     secret.Secret
}

// ClientSecrets shows new client secrets: as lines with the client_id, as JSON
// the fields of [Connections] and after them client_secret. Raw is the secret.
func ClientSecrets() Kind[ClientSecret] {
	plain := func(c *ClientSecret) string { return c.Secret.Reveal() }
	connection := Connections()
	return Kind[ClientSecret]{
		Secret: true,
		Fields: func(f *Fields, c *ClientSecret) {
			connection.Fields(f, &c.Connection)
			f.Text("client_secret", plain(c))
		},
		Lines: []Column[ClientSecret]{
			{Header: "CLIENT ID", Text: func(c *ClientSecret) string { return c.Connection.Name }, Wide: true},
			{Header: "CLIENT SECRET", Text: plain, Wide: true},
		},
		Raw: plain,
	}
}

// Keys shows signing keys and those of the key file.
func Keys() Kind[authority.Key] {
	type key = authority.Key
	id := func(k *key) string { return k.ID }
	return Kind[key]{
		Fields: func(f *Fields, k *key) {
			f.Text("use", k.Use)
			f.Text("id", k.ID)
			f.Text("algorithm", string(k.Algorithm))
			f.Text("state", k.State)
			f.Time("created_at", k.CreatedAt)
			f.Time("expires_at", k.ExpiresAt)
		},
		Columns: []Column[key]{
			{Header: "USE", Text: func(k *key) string { return k.Use }},
			{Header: "ID", Text: id},
			{Header: "ALGORITHM", Text: func(k *key) string { return string(k.Algorithm) }},
			{Header: "STATE", Text: func(k *key) string { return k.State }, Tone: func(k *key) Tone { return keyTone(k.State) }},
			{Header: "CREATED", Time: func(k *key) time.Time { return k.CreatedAt }},
			{Header: "EXPIRES", Time: func(k *key) time.Time { return k.ExpiresAt }, Wide: true},
		},
		Name: id,
	}
}

// Policy writes the policy: as JSON and the like one object by name, else a
// list of the settings with what they are for.
func Policy(ctx context.Context, w io.Writer, o Options, p token.Policy) error {
	if _, is := o.Format.template(); is || o.wantsJSON() || o.Format == YAML {
		object := Kind[token.Policy]{Fields: func(f *Fields, p *token.Policy) {
			for _, setting := range token.PolicyFields() {
				f.Text(setting.Name, setting.Get(p))
			}
		}}
		return One(ctx, w, o, object, p)
	}
	value := func(s *token.PolicyField) string {
		if s.Get == nil { // the zero value, which is asked for the names of fields
			return ""
		}
		return s.Get(&p)
	}
	list := Kind[token.PolicyField]{
		Fields: func(f *Fields, s *token.PolicyField) {
			f.Text("name", s.Name)
			f.Text("value", value(s))
			f.Text("description", s.Doc)
		},
		Columns: []Column[token.PolicyField]{
			{Header: "NAME", Text: func(s *token.PolicyField) string { return s.Name }},
			{Header: "VALUE", Text: value},
			{Header: "DESCRIPTION", Text: func(s *token.PolicyField) string { return s.Doc }, Cut: true},
		},
		Name: func(s *token.PolicyField) string { return s.Name },
	}
	_, err := Stream(ctx, w, o, list, func(yield func(token.PolicyField, error) bool) {
		for _, s := range token.PolicyFields() {
			if !yield(s, nil) {
				return
			}
		}
	})
	return err
}

func joinRoles(roles []token.Role) string {
	texts := make([]string, len(roles))
	for i, r := range roles {
		texts[i] = string(r)
	}
	return strings.Join(texts, " ")
}

func kindText(k token.Kind) string {
	if k == 0 {
		return ""
	}
	return k.String()
}

func statusTone(s token.Status) Tone {
	switch s {
	case token.Active:
		return Good
	case token.Suspended:
		return Warning
	case token.Revoked:
		return Bad
	}
	return Faint
}

func keyTone(state string) Tone {
	if state == "active" {
		return Good
	}
	return Faint
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func yesNoTone(v bool) Tone {
	if v {
		return Good
	}
	return Bad
}
