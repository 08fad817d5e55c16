package idp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// inspection is one JWT on its way through the checks.
type inspection struct {
	set      *Set
	text     string
	jwt      *jwt
	provider *provider
	verdict  token.Verdict
	said     []string // for [Set.Explain]; nil: nobody listens
}

func (in *inspection) say(format string, args ...any) {
	if in.said != nil {
		in.said = append(in.said, fmt.Sprintf(format, args...))
	}
}

// check is one of the things that must be right with a JWT.
type check struct {
	name string
	run  func(*inspection, context.Context) error
}

// checks are all of them. The signature comes after what costs nothing, so that
// keys are not fetched for a JWT that is refused anyway; what comes before it
// is not believed until then.
var checks = []check{
	{"form", (*inspection).form},
	{"issuer", (*inspection).issuer},
	{"algorithm", (*inspection).algorithm},
	{"audience", (*inspection).audience},
	{"times", (*inspection).times},
	{"kind", (*inspection).kind},
	{"required", (*inspection).required},
	{"identity", (*inspection).identity},
	{"roles", (*inspection).roles},
	{"signature", (*inspection).signature},
}

func refused(format string, args ...any) *token.Error {
	return token.Errorf(token.ErrRefused, format, args...)
}

func (in *inspection) form(context.Context) (err error) {
	if in.jwt, err = parse(in.text); err != nil {
		return err
	}
	in.say("it is a JWT of %d bytes", len(in.text))
	return nil
}

func (in *inspection) issuer(context.Context) error {
	iss := in.jwt.claims.issuer()
	if iss == "" {
		return refused("it names no issuer (iss)")
	}
	in.provider = in.set.provider(iss)
	if in.provider == nil {
		return refused("its issuer %.200q is that of no provider", iss)
	}
	if in.provider.Disabled {
		return refused("the provider is disabled")
	}
	in.say("its issuer %q is that of the provider %s", iss, in.provider.Name)
	in.verdict.Provider, in.verdict.Issuer, in.verdict.Unlinked = in.provider.Name, iss, in.provider.Unlinked
	in.verdict.Revision, in.verdict.RoleRules, in.verdict.Delegated = in.provider.Revision, in.provider.RoleRules(), in.provider.Delegates()
	in.verdict.ID, _ = in.jwt.claims.text("jti")
	return nil
}

func (in *inspection) algorithm(context.Context) error {
	alg := in.jwt.Algorithm
	if !slices.Contains(in.provider.Algorithms, token.Algorithm(alg)) {
		return refused("it is signed with %.20q; allowed are %s", alg, words(in.provider.Algorithms))
	}
	in.say("it is signed with %s", alg)
	return nil
}

func (in *inspection) audience(context.Context) error {
	aud, ok := in.jwt.claims.texts("aud")
	if !ok || len(aud) == 0 {
		return refused("its audience (aud) is missing or garbled")
	}
	i := slices.IndexFunc(aud, func(a string) bool { return slices.Contains(in.provider.Audiences, a) })
	if i < 0 {
		return refused("its audience %.200q is not ours, %q", aud, in.provider.Audiences)
	}
	in.verdict.Audience = aud[i]
	in.say("its audience %q is ours", aud[i])
	return nil
}

func (in *inspection) times(context.Context) error {
	now, leeway := in.set.o.Now(), in.provider.Leeway
	exp, err := in.jwt.claims.time("exp")
	if err != nil {
		return err
	}
	if !now.Before(exp.Add(leeway)) {
		return refused("it expired at %s", exp.Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		if _, has := in.jwt.claims[name]; !has {
			continue
		}
		begins, err := in.jwt.claims.time(name)
		if err != nil {
			return err
		}
		if now.Add(leeway).Before(begins) {
			return refused("it is from the future: its %s is %s", name, begins.Format(time.RFC3339))
		}
		if name == "iat" {
			in.verdict.IssuedAt = begins
		}
	}
	in.verdict.ExpiresAt = exp
	in.say("it expires at %s, in %s", exp.Format(time.RFC3339), token.FormatDuration(exp.Sub(now).Truncate(time.Second)))
	return nil
}

// kind refuses every JWT that is none to show to us. Providers give the same
// keys to all kinds, and most say only by small signs which one it is.
func (in *inspection) kind(context.Context) error {
	c := in.jwt.claims
	typ := strings.TrimPrefix(strings.ToLower(in.jwt.Type), "application/")
	if typ != "" && typ != "jwt" && typ != "at+jwt" { // RFC 9068 §4, RFC 8725 §3.11
		return refused("a JWT of the type %.50q is no access token", in.jwt.Type)
	}
	// OpenID Connect Core §2 and §3.3.2.11: what ties an ID token to one log-in.
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if c.has(name) {
			return refused("it is an ID token: it has the claim %s", name)
		}
	}
	// How Keycloak (typ) and Cognito (token_use) tell them apart.
	for _, name := range []string{"typ", "token_use"} {
		switch s, _ := c.text(name); strings.ToLower(s) {
		case "id", "refresh", "offline", "logout":
			return refused("it is no access token: its claim %s says %.20q", name, s)
		}
	}
	// A back-channel logout token (OpenID Connect Back-Channel Logout §2.4), a
	// security event (RFC 8417 §2.2).
	if c.has("events") {
		return refused("it is no access token: it has the claim events")
	}
	// Whoever shows it has to prove that it is theirs (RFC 7800 §3, RFC 8705 §3, RFC
	// 9449 §6), which nobody does to us.
	if c.has("cnf") {
		return refused("it is no Bearer token: it is bound to a key (cnf)")
	}
	if typ != "at+jwt" {
		if err := in.forItsClient(); err != nil {
			return err
		}
	}
	in.say("nothing says that it is an ID token")
	return nil
}

// forItsClient refuses a JWT that only the client is told something with: that
// is what an ID token is for.
func (in *inspection) forItsClient() error {
	aud, _ := in.jwt.claims.texts("aud")
	if len(aud) != 1 {
		return nil
	}
	for _, name := range []string{"azp", "client_id"} {
		if client, ok := in.jwt.claims.text(name); ok && client == aud[0] {
			return refused("it is an ID token: its audience is its own client (%s)", name)
		}
	}
	return nil
}

// required compares the claims that the provider's JWTs must have, exactly. Those
// that serve everybody, as GitHub does, put what anybody likes into aud and what
// they are told into sub: whose JWT it is stands in other claims.
func (in *inspection) required(context.Context) error {
	if len(in.provider.Require) == 0 {
		in.say("no claim is required of it")
		return nil
	}
	for _, name := range in.provider.Required() {
		has, ok := in.jwt.claims.texts(name)
		if !ok {
			return refused("its claim %q, which is required, is missing, or neither a text nor an array of texts", name)
		}
		wanted := in.provider.Demanded(name)
		i := slices.IndexFunc(has, func(s string) bool { return slices.Contains(wanted, s) })
		if i < 0 {
			return refused("its claim %q is %.200q, which is not what is required, %.500q", name, has, wanted)
		}
		in.say("its claim %s is %q, as is required", name, has[i])
	}
	return nil
}

// identity reads who it is. Nothing stands in the place of the claim, and the
// value must be a name as [token.NewOwner] writes it: if two values could come
// to the same name, the one would be taken for the other.
func (in *inspection) identity(context.Context) error {
	name := in.provider.Claim
	value, ok := in.jwt.claims.text(name)
	if !ok || value == "" {
		return refused("its claim %q, that says who it is, is missing, empty or no text", name)
	}
	owner, err := token.NewOwner(in.provider.Name, value)
	if err != nil {
		return refused("its claim %q can be nobody's name: %w", name, err)
	}
	if owner.Name != value {
		return refused("its claim %q is %q, which is not written as names are, %q", name, value, owner.Name)
	}
	in.verdict.Claim, in.verdict.Subject = name, value
	in.say("its claim %s says who it is: %q", name, value)
	return nil
}

func (in *inspection) roles(context.Context) error {
	in.verdict.Roles = []token.Role{}
	name := in.provider.RoleClaim
	if name == "" {
		in.say("roles are not taken from it")
		return nil
	}
	var values []string
	if in.jwt.claims.has(name) {
		var ok bool
		if values, ok = in.jwt.claims.texts(name); !ok {
			return refused("its claim %q with the roles is neither a text nor an array of texts", name)
		}
		if name == "scope" && len(values) == 1 { // RFC 8693 §4.2
			values = strings.Fields(values[0])
		}
	}
	in.verdict.Roles = in.provider.Roles(values)
	in.say("its claim %s is %.500q, the roles for that are: %s", name, values, words(in.verdict.Roles))
	return nil
}

func (in *inspection) signature(ctx context.Context) error {
	if _, err := in.provider.keys.VerifySignature(ctx, in.text); err != nil {
		return err
	}
	in.say("its signature is right, by the key %q", in.jwt.KeyID)
	return nil
}

// words are what is in a list, for people.
func words[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}
