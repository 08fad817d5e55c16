package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const verifyPath = "/verify"

// verifyHandler answers "who is this?" for proxies and services. It is built
// from a Verifier alone: it cannot make tokens.
type verifyHandler struct {
	Options
	verifier authority.Verifier
	refusals *sampled
	doubts   *sampled
}

// NewVerifyHandler answers /verify and what lies below it, for any method but
// TRACE and CONNECT. What is demanded of a credential is in the path alone,
// which the configuration of the proxy fixes: headers and query are the
// client's and ask for nothing.
func NewVerifyHandler(v authority.Verifier, o Options) http.Handler {
	o = o.orDefaults()
	return &verifyHandler{Options: o, verifier: v, refusals: newSampled(o.Log), doubts: newSampled(o.Log)}
}

// demands are what a path asks of a credential.
type demands struct{ service, connection, role string }

// parseDemands reads /verify[/service/S][/connection/C][/role/R]. Behind that
// may stand whatever a proxy appends, unless it looks like a demand that is out
// of order. A proxy that appends the client's own path needs an end that no
// client can write over: /- ends the demands.
func parseDemands(path string) (d demands, ok bool) {
	rest := strings.TrimPrefix(path, verifyPath)
	for _, demand := range []struct {
		keyword string
		name    *string
	}{{"/service/", &d.service}, {"/connection/", &d.connection}, {"/role/", &d.role}} {
		after, is := strings.CutPrefix(rest, demand.keyword)
		if !is {
			continue
		}
		end := strings.IndexByte(after, '/')
		if end < 0 {
			end = len(after)
		}
		*demand.name, rest = after[:end], after[end:]
		// A demand that cannot be read must not be one that is not made.
		if token.CheckName("name", *demand.name) != nil {
			return d, false
		}
	}
	next, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	return d, !misplaced(rest, next)
}

// misplaced says that what stands behind the demands looks like one that was
// written wrongly, and not like what a proxy has appended.
func misplaced(rest, next string) bool {
	for _, keyword := range []string{"service", "connection", "role"} {
		if strings.EqualFold(next, keyword) {
			return true
		}
	}
	return strings.HasPrefix(rest, "//")
}

var (
	identityKinds = []token.Kind{token.User, token.Access, token.Federated}
	serviceKinds  = []token.Kind{token.Service}
)

// ServeHTTP implements http.Handler.
func (h *verifyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	status, outcome := h.answer(w, r)
	if outcome != "" {
		h.Observer.Verdict(outcome)
	}
	h.Observer.Request(verifyPath, r.Method, status, time.Since(begun))
}

func (h *verifyHandler) answer(w http.ResponseWriter, r *http.Request) (status int, outcome string) {
	header := w.Header()
	header["Cache-Control"] = noStore
	if status, err := checkFraming(r); err != nil {
		writeProblemStatus(w, r, status, err)
		return status, ""
	}
	d, ok := parseDemands(r.URL.Path)
	if !ok {
		writeProblemStatus(w, r, http.StatusNotFound, token.Errorf(token.ErrNotFound, "there is no %s here", r.URL.Path))
		return http.StatusNotFound, ""
	}
	credential, err := presented(r, h.Limits.Bearer, plainBasic)
	if err != nil {
		return h.refuse(w, r, !errors.Is(err, errNoCredential)), "refused"
	}
	p := authority.Presented{
		Credential: credential, Kinds: identityKinds, Connection: d.connection, Role: token.Role(d.role),
		CountsAsUse: true, From: h.clientAddress(r),
	}
	if p.Connection == "" {
		p.Connection = token.DefaultConnection
	}
	if d.service != "" {
		user, password, pair := strings.Cut(credential.Reveal(), ":")
		if !pair { // of Bearer: it names no user
			return h.refuse(w, r, true), "refused"
		}
		p.Service, p.User, p.Credential, p.Kinds = d.service, user, secret.FromText(password), serviceKinds
	}
	ctx, cancel := r.Context(), func() {}
	if d.service != "" {
		ctx, cancel = answerable(ctx)
	}
	id, err := h.verifier.Verify(ctx, p)
	cancel()
	if err == nil {
		writeIdentity(w, &id)
		return http.StatusOK, "accepted"
	}
	var no *authority.Refusal
	switch {
	case errors.As(err, &no) && no.Reason == authority.MissingRole:
		header["Www-Authenticate"] = []string{`Bearer realm="tokenctl", error="insufficient_scope", scope="` + d.role + `"`}
		writeVerdict(w, http.StatusForbidden, []byte(`{"valid":false,"error":"insufficient_scope"}`+"\n"))
		return http.StatusForbidden, "refused"
	case errors.Is(err, token.ErrRefused):
		if no != nil {
			h.refusals.tell(r.Context(), slog.LevelInfo, "refused", slog.String("reason", string(no.Reason)), slog.String("token", idText(no.Token)), slog.String("from", p.From))
		}
		return h.refuse(w, r, true), "refused"
	}
	h.doubts.tell(r.Context(), slog.LevelError, "cannot tell", slog.String("error", loggable(err)), slog.String("from", p.From))
	header["Retry-After"] = []string{"1"}
	writeProblemStatus(w, r, http.StatusServiceUnavailable, token.Errorf(token.ErrCannotTell, "nobody can say at the moment whether this credential is good"))
	return http.StatusServiceUnavailable, "cannot_tell"
}

// answerable ends while the server can still answer: a password may wait its
// turn, among many, for longer than a connection is kept for an answer.
func answerable(ctx context.Context) (context.Context, context.CancelFunc) {
	srv, ok := ctx.Value(http.ServerContextKey).(*http.Server)
	if !ok || srv.WriteTimeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, srv.WriteTimeout*9/10)
}

func idText(id token.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

var (
	noStore     = []string{"no-store"}
	jsonType    = []string{"application/json"}
	notAccepted = []byte(`{"valid":false}` + "\n")
)

// refuse is the one answer for all that are not accepted.
func (h *verifyHandler) refuse(w http.ResponseWriter, _ *http.Request, had bool) int {
	challenge(w.Header(), had)
	writeVerdict(w, http.StatusUnauthorized, notAccepted)
	return http.StatusUnauthorized
}

func writeVerdict(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(body)
}

// identityBuffers hold bodies while they are written.
var identityBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// writeIdentity says who it is, in headers for proxies to hand on and as JSON.
func writeIdentity(w http.ResponseWriter, id *token.Identity) {
	owner, expires := id.Owner.String(), ""
	if !id.ExpiresAt.IsZero() {
		expires = id.ExpiresAt.UTC().Format(time.RFC3339)
	}
	// The realm is how the owner begins: one text serves both.
	values := [6]string{owner, owner[:len(id.Owner.Realm)], id.Kind.String(), idText(id.ID), joinRoles(id.Roles, ","), expires}
	header := w.Header()
	header["X-Auth-User"] = values[0:1:1]
	header["X-Auth-Realm"] = values[1:2:2]
	header["X-Auth-Kind"] = values[2:3:3]
	header["X-Auth-Token"] = values[3:4:4]
	header["X-Auth-Roles"] = values[4:5:5]
	if expires != "" {
		header["X-Auth-Expires"] = values[5:6:6]
	}
	header["Content-Type"] = jsonType
	buf := identityBuffers.Get().(*[]byte)
	*buf = append(appendIdentity((*buf)[:0], id, owner), '\n')
	w.Write(*buf)
	identityBuffers.Put(buf)
}

// appendIdentity writes what verify -o json promises.
func appendIdentity(b []byte, id *token.Identity, owner string) []byte {
	b = append(b, `{"valid":true,"kind":"`...)
	b = append(b, id.Kind.String()...)
	b = append(b, `","id":`...)
	b = appendNullableText(b, idText(id.ID))
	b = append(b, `,"owner":`...)
	b = appendJSONText(b, owner)
	b = append(b, `,"roles":[`...)
	for i, r := range id.Roles {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONText(b, string(r))
	}
	b = append(b, `],"service":`...)
	b = appendNullableText(b, id.Service)
	b = append(b, `,"connection":`...)
	b = appendNullableText(b, id.Connection)
	b = append(b, `,"expires_at":`...)
	if id.ExpiresAt.IsZero() {
		return append(b, `null}`...)
	}
	b = append(b, '"')
	b = id.ExpiresAt.UTC().AppendFormat(b, time.RFC3339)
	return append(b, `"}`...)
}

func appendNullableText(b []byte, s string) []byte {
	if s == "" {
		return append(b, `null`...)
	}
	return appendJSONText(b, s)
}

// appendJSONText writes a JSON string. Nearly all of ours need no escape.
func appendJSONText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // no string fails
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func joinRoles(roles []token.Role, separator string) string {
	switch len(roles) {
	case 0:
		return ""
	case 1:
		return string(roles[0])
	}
	var b strings.Builder
	for i, r := range roles {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(string(r))
	}
	return b.String()
}
