package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// clientMethods are the ways in which a client may authenticate, and
// secretMethods those that show a secret.
var (
	clientMethods = token.AuthMethods()
	secretMethods = []token.AuthMethod{token.AuthBasic, token.AuthPost}
)

func invalidClient(description string) error {
	return &oauthError{Status: http.StatusUnauthorized, Code: "invalid_client", Description: description}
}

// clientOf is what the client of a request shows of itself, in one way and no
// more (RFC 6749 §2.3). A client_secret that is empty is one that is wrong.
func (h *handler) clientOf(r *http.Request, form url.Values) (authority.ClientAuth, error) {
	a := authority.ClientAuth{ID: form.Get("client_id"), Method: token.AuthNone, From: h.clientAddress(r)}
	inHeader := r.Header.Get("Authorization") != ""
	switch {
	case form.Has("client_assertion") || form.Has("client_assertion_type"):
		return a, invalidClient("no client of this server authenticates by an assertion")
	case inHeader && form.Has("client_secret"):
		return a, invalidRequest("the client authenticates in two ways at once")
	case form.Has("client_secret"):
		a.Method, a.Secret = token.AuthPost, secret.FromText(form.Get("client_secret"))
	case inHeader:
		id, pass, err := h.clientBasic(r)
		if err != nil {
			return a, invalidClient("the Authorization header is not Basic with client_id and client_secret, each form-urlencoded")
		}
		if form.Has("client_id") && a.ID != id {
			return a, invalidRequest("the client_id is not that of the Authorization header")
		}
		a.ID, a.Method, a.Secret = id, token.AuthBasic, pass
	}
	if a.ID == "" && a.Method != token.AuthNone {
		return a, invalidClient("the client_id is missing")
	}
	return a, nil
}

// clientBasic is client_id and client_secret in the Authorization header (RFC
// 6749 §2.3.1).
func (h *handler) clientBasic(r *http.Request) (string, secret.Secret, error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	text = strings.TrimLeft(text, " ")
	if !strings.EqualFold(scheme, "Basic") || len(text) > h.Limits.Bearer {
		return "", secret.Secret{}, errBadCredential
	}
	_, user, pass, err := halvesOf(text)
	if err == nil {
		user, pass, err = decodeHalves(user, pass)
	}
	return user, secret.FromText(pass), err
}

// authenticateClient says whose client asks.
func (h *handler) authenticateClient(r *http.Request, a authority.ClientAuth) (token.Connection, error) {
	conn, err := h.Rules.AuthenticateClient(r.Context(), a)
	if n := noteOf(r); n != nil && err == nil {
		n.caller = "client " + conn.Name
	}
	return conn, err
}

// introspector says of which tokens whoever asks may learn: a client, of those of
// its connection; a user with the role tokenctl:introspect, of all; others, of
// their own.
func (h *handler) introspector(r *http.Request, form url.Values) (may func(*token.Identity) bool, err error) {
	if h.showsClientSecret(r, form) {
		a, err := h.clientOf(r, form)
		if err != nil {
			return nil, err
		}
		conn, err := h.authenticateClient(r, a)
		return func(id *token.Identity) bool { return id.Connection == conn.Name }, err
	}
	caller, roles, err := h.identify(r, encodedBasic)
	who := token.Identity{Roles: roles}
	return func(id *token.Identity) bool { return id.Owner == caller.Owner || who.HasRole(token.Introspect) }, err
}

// showsClientSecret tells clients from users, whose names and passwords come in
// Basic, too, by the text of the secret.
func (h *handler) showsClientSecret(r *http.Request, form url.Values) bool {
	if form.Has("client_secret") {
		return true
	}
	_, pass, err := h.clientBasic(r)
	if err != nil {
		return false
	}
	text, err := secret.Parse(pass.Reveal())
	return err == nil && text.Form == secret.ClientSecret
}
