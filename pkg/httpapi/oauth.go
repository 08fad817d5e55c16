package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func (h *handler) oauthRoutes() {
	h.oauth("POST /oauth2/token", h.tokenEndpoint)
	h.oauth("POST /oauth2/revoke", h.revocationEndpoint)
	h.oauth("POST /oauth2/introspect", h.introspectionEndpoint)
	h.handle("GET "+metadataPath, h.metadata)
	h.handle("GET "+metadataPath+"/{path...}", h.metadata) // an issuer with a path, RFC 8414 §3.1
	h.handle("GET /.well-known/jwks.json", h.keySet)
}

// oauthError is the answer of RFC 6749 §5.2. Its text holds nothing of the
// request.
type oauthError struct {
	Status      int    `json:"-"`
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	cause       error  // for the log
}

func (e *oauthError) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Description
}

func (e *oauthError) Unwrap() error { return e.cause }

func invalidRequest(description string) error {
	return &oauthError{Status: http.StatusBadRequest, Code: "invalid_request", Description: description}
}

// oauth registers an endpoint that takes a form and fails as RFC 6749 says.
func (h *handler) oauth(pattern string, fn func(http.ResponseWriter, *http.Request, url.Values) error) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Pragma", "no-cache")
		form, err := h.form(r)
		if err == nil {
			err = fn(w, r, form)
		}
		if err != nil {
			writeOAuthError(w, r, err)
		}
	})
}

// oauthErrors says what the endpoints call our kinds of error.
var oauthErrors = []struct {
	kind error
	oauthError
}{
	{authority.ErrInvalidTarget, oauthError{http.StatusBadRequest, "invalid_target", "the token is not for this resource", nil}},
	{authority.ErrInvalidScope, oauthError{http.StatusBadRequest, "invalid_scope", "the token does not have all of these roles", nil}},
	{authority.ErrInvalidClient, oauthError{http.StatusUnauthorized, "invalid_client", "the client is not accepted", nil}},
	{errUnknownCaller, oauthError{http.StatusUnauthorized, "invalid_client", "the credential of the caller is missing or not accepted", nil}},
	{token.ErrRefused, oauthError{http.StatusBadRequest, "invalid_grant", "the token is not accepted", nil}},
	{authority.ErrOtherClient, oauthError{http.StatusBadRequest, "invalid_grant", "the token was issued to another client", nil}},
	{authority.ErrNotOurs, oauthError{http.StatusBadRequest, "unsupported_token_type", "it is a token of an identity provider, which alone can revoke it", nil}},
	{token.ErrConflict, oauthError{http.StatusBadRequest, "invalid_request", "changed meanwhile; try again", nil}},
	{token.ErrUsage, oauthError{http.StatusBadRequest, "invalid_request", "", nil}},
	{token.ErrCannotTell, oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "nobody can say at the moment", nil}},
}

func writeOAuthError(w http.ResponseWriter, r *http.Request, err error) {
	answer := oauthError{http.StatusInternalServerError, "server_error", "", nil}
	var is *oauthError
	if errors.As(err, &is) {
		answer = *is
	} else {
		for _, e := range oauthErrors {
			if errors.Is(err, e.kind) {
				answer = e.oauthError
				break
			}
		}
	}
	if n := noteOf(r); n != nil && n.err == nil {
		n.err = err
		var no *authority.Refusal
		if errors.As(err, &no) {
			n.err = errors.New("refused: " + string(no.Reason))
		}
	}
	if answer.Status == http.StatusUnauthorized && errors.Is(err, errUnknownCaller) {
		challenge(w.Header(), r.Header.Get("Authorization") != "")
	} else if answer.Status == http.StatusUnauthorized {
		challengeClient(w.Header())
	}
	if answer.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeOAuth(w, answer.Status, answer)
}

func writeOAuth(w http.ResponseWriter, status int, v any) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // nobody is left to tell
}

// form reads a form of bounded size in which nothing stands twice (RFC 6749
// §3.2). Parameters in the URL are not looked at.
func (h *handler) form(r *http.Request) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &oauthError{Status: http.StatusUnsupportedMediaType, Code: "invalid_request", Description: "send application/x-www-form-urlencoded"}
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &oauthError{Status: http.StatusRequestEntityTooLarge, Code: "invalid_request", Description: "the body is too large"}
	}
	if err != nil {
		return nil, invalidRequest("the body cannot be read")
	}
	if strings.Count(string(body), "&") >= h.Limits.FormFields {
		return nil, invalidRequest("too many parameters")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("the form is garbled")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, &oauthError{Status: http.StatusBadRequest, Code: "invalid_request", Description: "a parameter stands there twice", cause: errors.New(name)}
		}
	}
	return form, nil
}

// tokenAnswer is the answer of RFC 6749 §5.1.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
	// RefreshToken takes the place of the one that was shown (RFC 6749 §6).
	RefreshToken string `json:"refresh_token,omitempty"`
	// IssuedType is there in the answer to a token exchange (RFC 8693 §2.2.1).
	IssuedType string `json:"issued_token_type,omitempty"`
}

// tokenEndpoint turns a refresh token into an access token (RFC 6749 §6), or a
// token that proves who its subject is (RFC 8693).
func (h *handler) tokenEndpoint(w http.ResponseWriter, r *http.Request, form url.Values) error {
	client, err := h.clientOf(r, form)
	if err == nil && client.ID != "" { // before anything of the grant is looked at
		_, err = h.authenticateClient(r, client)
	}
	if err != nil {
		return err
	}
	var x authority.Exchange
	issued := ""
	switch form.Get("grant_type") {
	case grantRefresh:
		x = authority.Exchange{RefreshToken: secret.FromText(form.Get("refresh_token")), Resource: form.Get("resource")}
		if x.RefreshToken.IsZero() {
			return invalidRequest("refresh_token is missing")
		}
	case grantExchange:
		if x, err = subjectExchange(form); err != nil {
			return err
		}
		issued = typeAccessToken
	case "":
		return invalidRequest("grant_type is missing")
	default:
		return &oauthError{Status: http.StatusBadRequest, Code: "unsupported_grant_type", Description: "refresh_token and token-exchange are"}
	}
	x.ClientID, x.ClientSecret, x.ClientMethod, x.From = client.ID, client.Secret, client.Method, client.From
	if scope := strings.Fields(form.Get("scope")); len(scope) > 0 {
		if x.Roles, err = token.ParseRoles(scope); err != nil {
			return authority.ErrInvalidScope
		}
	}
	access, err := h.Rules.As(authority.Caller{Via: "token endpoint", From: x.From}).Exchange(r.Context(), x)
	if err != nil && issued != "" {
		err = subjectRefused(err)
	}
	if err != nil {
		return err
	}
	writeOAuth(w, http.StatusOK, tokenAnswer{
		IssuedType:  issued,
		AccessToken: access.Text.Reveal(), TokenType: "Bearer",
		ExpiresIn: int64(access.ExpiresIn / time.Second), Scope: joinRoles(access.Roles, " "),
		RefreshToken: access.RefreshToken.Reveal(),
	})
	return nil
}

// revocationEndpoint revokes a token that its holder hands in (RFC 7009).
// Having it is the right to end it, but a client that says who it is must show it.
// A token that is not accepted is no error (§2.2). An access token stands for the
// refresh token that it was made from (§2.1).
func (h *handler) revocationEndpoint(w http.ResponseWriter, r *http.Request, form url.Values) error {
	client, err := h.clientOf(r, form)
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return invalidRequest("token is missing")
	}
	text := secret.FromText(form.Get("token"))
	if client.ID != "" {
		if _, err := h.authenticateClient(r, client); err != nil {
			return err
		}
	}
	s := h.Rules.As(authority.Caller{Via: "revocation endpoint", From: h.clientAddress(r), Client: client.ID})
	if _, err := s.RevokeSecret(r.Context(), text, "handed in for revocation"); err != nil && !errors.Is(err, token.ErrRefused) && !errors.Is(err, token.ErrNotFound) {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// introspection is the answer of RFC 7662 §2.2 for an active token.
type introspection struct {
	Active    bool         `json:"active"`
	Scope     string       `json:"scope,omitempty"`
	ClientID  string       `json:"client_id,omitempty"`
	Username  string       `json:"username"`
	Service   string       `json:"service,omitempty"`
	TokenType string       `json:"token_type,omitempty"`
	Expires   int64        `json:"exp,omitempty"`
	IssuedAt  int64        `json:"iat,omitempty"`
	NotBefore int64        `json:"nbf,omitempty"`
	Subject   string       `json:"sub"`
	Audience  string       `json:"aud,omitempty"`
	Issuer    string       `json:"iss,omitempty"`
	JWTID     string       `json:"jti,omitempty"`
	Kind      string       `json:"kind"`
	Token     string       `json:"tid,omitempty"`
	Provider  string       `json:"idp,omitempty"`
	Roles     []token.Role `json:"roles"`
}

// introspectionEndpoint tells an authenticated caller what a token is worth
// (RFC 7662). What is none of their business is as inactive as a token that does
// not exist. With the parameters username and service, which RFC 7662 §2.1 leaves
// to the server, the token is that user's password at that service.
func (h *handler) introspectionEndpoint(w http.ResponseWriter, r *http.Request, form url.Values) error {
	may, err := h.introspector(r, form)
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return invalidRequest("token is missing")
	}
	user, service := form.Get("username"), form.Get("service")
	if checkAt(user, service) != nil {
		return invalidRequest("username goes with service, and service is the name of one")
	}
	id, err := h.Rules.Verify(r.Context(), authority.Presented{
		Credential: secret.FromText(form.Get("token")), User: user, Service: service, From: h.clientAddress(r),
	})
	if err != nil && !errors.Is(err, token.ErrRefused) {
		return err
	}
	if err != nil || !may(&id) {
		writeVerdict(w, http.StatusOK, inactive)
		return nil
	}
	writeOAuth(w, http.StatusOK, introspectionOf(&id))
	return nil
}

var inactive = []byte(`{"active":false}`)

func introspectionOf(id *token.Identity) introspection {
	owner := id.Owner.String()
	a := introspection{
		Active: true, Scope: joinRoles(id.Roles, " "), ClientID: id.Connection, Username: owner, Service: id.Service, Subject: owner,
		Expires: unix(id.ExpiresAt), IssuedAt: unix(id.IssuedAt), Audience: id.Audience, Issuer: id.Issuer, JWTID: id.JWTID,
		Kind: id.Kind.String(), Token: idText(id.ID), Provider: id.Provider, Roles: id.Roles,
	}
	if id.Kind != token.Service && id.Kind != token.Refresh { // which are no Bearer
		a.TokenType = "Bearer"
	}
	if id.Kind == token.Access {
		a.NotBefore = a.IssuedAt
	}
	if a.Roles == nil {
		a.Roles = []token.Role{}
	}
	return a
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
