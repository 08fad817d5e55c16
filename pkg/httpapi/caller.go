package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

type peerKey struct{}

// WithPeer marks the requests of a connection as a caller's who was recognised
// without a credential, by who opened the local socket. An Authorization header
// goes before that.
func WithPeer(ctx context.Context, c authority.Caller) context.Context {
	return context.WithValue(ctx, peerKey{}, c)
}

// errUnknownCaller: the request is nobody's whom we know. The status is 401.
var errUnknownCaller = token.Errorf(token.ErrRefused, "the credential of the caller is missing or not accepted").
	WithHint("send a user token (Basic code:passcode), a name and its password (Basic), or an access token of the connection %q (Bearer)", authority.SelfConnection)

// callerKinds are the kinds of token that say who is asking. A refresh token is
// no Bearer.
var callerKinds = []token.Kind{token.User, token.Access, token.Federated}

// caller is who asks.
func (h *handler) caller(r *http.Request) (authority.Caller, error) {
	if peer, is := peerOf(r); is {
		h.callerIs(r, peer)
		return peer, nil
	}
	c, _, err := h.identify(r, plainBasic)
	return c, err
}

// peerOf is who is at the other end of the local socket, unless the request has
// a credential.
func peerOf(r *http.Request) (authority.Caller, bool) {
	peer, is := r.Context().Value(peerKey{}).(authority.Caller)
	return peer, is && r.Header.Get("Authorization") == ""
}

// identify is who asks, and with which roles.
func (h *handler) identify(r *http.Request, basic basicForm) (c authority.Caller, roles []token.Role, err error) {
	if peer, is := peerOf(r); is {
		h.callerIs(r, peer)
		me, err := h.Rules.As(peer).WhoAmI(r.Context())
		return peer, me.Roles, err
	}
	credential, err := presented(r, h.Limits.Bearer, basic)
	if err != nil {
		return c, nil, errUnknownCaller
	}
	from := h.clientAddress(r)
	if login, is := loginOf(credential); is {
		login.From = from
		return h.logIn(r, login)
	}
	id, err := h.Rules.Verify(r.Context(), authority.Presented{
		Credential: credential, Kinds: callerKinds, Connection: authority.SelfConnection, CountsAsUse: true, AskDirectory: true, From: from,
	})
	if errors.Is(err, token.ErrRefused) {
		h.refused(r, err)
		return c, nil, errUnknownCaller
	}
	if err != nil {
		return c, nil, err
	}
	c = authority.Caller{Owner: id.Owner, Via: via(&id), From: from, Until: id.Until}
	if id.Kind == token.Access || id.Narrowed {
		c.Narrowed, c.Roles = true, id.Roles
	}
	h.callerIs(r, c)
	return c, id.Roles, nil
}

// via says by what a caller was recognised.
func via(id *token.Identity) string {
	if id.Provider != "" {
		return "provider " + id.Provider
	}
	return "token " + id.ID.String()
}

// passcodePrefix is what every passcode begins with.
const passcodePrefix = "tkp_"

// loginOf takes a name and a password apart. A name may look like a user code,
// so only with what looks like a passcode, too, is a pair a user token.
func loginOf(credential secret.Secret) (authority.Login, bool) {
	name, password, pair := strings.Cut(credential.Reveal(), ":")
	if !pair || secret.LooksLikeID(name) && strings.HasPrefix(password, passcodePrefix) {
		return authority.Login{}, false
	}
	return authority.Login{Name: name, Password: secret.FromText(password)}, true
}

// logIn is who has a name and its password.
func (h *handler) logIn(r *http.Request, login authority.Login) (c authority.Caller, roles []token.Role, err error) {
	id, err := h.Rules.LogIn(r.Context(), login)
	if errors.Is(err, token.ErrRefused) {
		h.refused(r, err)
		return c, nil, errUnknownCaller
	}
	if err != nil {
		return c, nil, err
	}
	c = authority.Caller{Owner: id.Owner, Via: "password", From: login.From}
	h.callerIs(r, c)
	return c, id.Roles, nil
}

func (h *handler) callerIs(r *http.Request, c authority.Caller) {
	if n := noteOf(r); n != nil {
		n.caller = c.Owner.String()
	}
}

// refused puts the reason of a refusal, which nobody else is told, into the log.
func (h *handler) refused(r *http.Request, err error) {
	var no *authority.Refusal
	if n := noteOf(r); n != nil && errors.As(err, &no) {
		n.err = errors.New("the caller's credential is refused: " + string(no.Reason))
	}
}

// basicForm says how the two halves of Basic credentials are written.
type basicForm bool

const (
	plainBasic   basicForm = false // RFC 7617
	encodedBasic basicForm = true  // RFC 6749 §2.3.1: each half form-urlencoded
)

var (
	errNoCredential  = errors.New("no credential")
	errBadCredential = errors.New("no credential of ours")
)

// presented is the credential in the Authorization header: of Basic the pair,
// of Bearer the token.
func presented(r *http.Request, limit int, basic basicForm) (secret.Secret, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 || headers[0] == "" {
		return secret.Secret{}, errNoCredential
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	text = strings.TrimLeft(text, " ")
	if len(text) > limit {
		return secret.Secret{}, errBadCredential
	}
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		if strings.IndexByte(text, ':') >= 0 { // RFC 6750 §2.1: a pair is for Basic
			return secret.Secret{}, errBadCredential
		}
		return secret.FromText(text), nil
	case strings.EqualFold(scheme, "Basic"):
		return fromBasic(text, basic)
	}
	return secret.Secret{}, errBadCredential
}

func fromBasic(text string, form basicForm) (secret.Secret, error) {
	pair, user, pass, err := halvesOf(text)
	if err != nil || form == plainBasic {
		return secret.FromText(pair), err
	}
	if user, pass, err = decodeHalves(user, pass); err != nil {
		return secret.Secret{}, err
	}
	return secret.FromText(user + ":" + pass), nil
}

// halvesOf takes Basic credentials apart.
func halvesOf(text string) (pair, user, pass string, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", "", errBadCredential
	}
	pair = string(raw)
	user, pass, ok := strings.Cut(pair, ":")
	if !ok {
		return "", "", "", errBadCredential
	}
	return pair, user, pass, nil
}

// decodeHalves decodes halves that are form-urlencoded.
func decodeHalves(user, pass string) (string, string, error) {
	user, err := url.QueryUnescape(user)
	if err == nil {
		pass, err = url.QueryUnescape(pass)
	}
	if err != nil {
		return "", "", errBadCredential
	}
	return user, pass, nil
}

const basicChallenge = `Basic realm="tokenctl", charset="UTF-8"`

// challenge asks for credentials (RFC 7617 §2, RFC 6750 §3): the same for all
// that are not accepted.
func challenge(header http.Header, had bool) {
	bearer := `Bearer realm="tokenctl"`
	if had {
		bearer += `, error="invalid_token"`
	}
	header["Www-Authenticate"] = []string{basicChallenge, bearer}
}

// challengeClient asks an OAuth client for its credentials (RFC 6749 §5.2), which
// are never a Bearer token.
func challengeClient(header http.Header) {
	header["Www-Authenticate"] = []string{basicChallenge}
}

// clientAddress is where a request comes from: as far along X-Forwarded-For as
// proxies that are trusted have written it.
func (o *Options) clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "" // the local socket
	}
	if len(o.TrustedProxies) == 0 {
		return host
	}
	addr, err := netip.ParseAddr(host)
	ip := addr.Unmap()
	if err != nil || !o.trusted(ip) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if ip = next.Unmap().WithZone(""); !o.trusted(ip) {
			break
		}
	}
	return ip.String()
}

func (o *Options) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(o.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}
