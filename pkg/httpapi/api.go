package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

//go:embed openapi.yaml
var openAPI []byte

const (
	apiPath     = "/api/v1"
	openAPIPath = "/api/openapi.yaml"
)

// apiRoute is a route below apiPath.
type apiRoute struct {
	method, path string
	fn           func(http.ResponseWriter, *http.Request) error
}

func (h *handler) apiTable() []apiRoute {
	return slices.Concat(accounts.routes(h), connections.routes(h), services.routes(h), providers.routes(h), []apiRoute{
		{"POST", "/tokens", h.postToken},
		{"GET", "/tokens", h.listTokens},
		{"GET", "/tokens/{id}", h.getToken},
		{"DELETE", "/tokens/{id}", h.deleteToken},
		{"POST", "/tokens/{id}/rotate", h.rotateToken},
		{"POST", "/tokens/{id}/suspend", h.suspendToken},
		{"POST", "/tokens/{id}/resume", h.resumeToken},
		{"POST", "/tokens/{id}/revoke", h.revokeToken},
		{"POST", "/tokens/{id}/take-back", h.takeBackToken},
		{"POST", "/tokens/{id}/deliver", h.deliverToken},
		{"POST", "/tokens:revoke", h.revokeTokens},
		{"POST", "/tokens:suspend", h.suspendTokens},
		{"POST", "/tokens:resume", h.resumeTokens},
		{"POST", "/tokens:delete", h.deleteTokens},
		{"POST", "/tokens:verify", h.verifyCredential},
		{"POST", "/tokens:explain", h.explainCredential},
		{"POST", "/tokens:exchange", h.exchangeToken},
		{"GET", "/whoami", h.whoAmI},
		{"GET", "/accounts", h.listAccounts},
		{"POST", "/accounts:password", h.setPassword},
		{"POST", "/accounts:link", h.linkIdentity},
		{"POST", "/accounts:unlink", h.unlinkIdentity},
		{"GET", "/provisioning", h.listDeliveries},
		{"POST", "/provisioning:retry", h.retryDeliveries},
		{"POST", "/providers:explain", h.explainJWT},
		{"GET", "/login-providers", h.loginProviders},
		{"POST", "/connections/{name}/secret", h.renewClientSecret},
		{"POST", "/orphans", h.findOrphans},
		{"POST", "/orphans:purge", h.purgeOrphans},
		{"GET", "/policy", h.getPolicy},
		{"PATCH", "/policy", h.patchPolicy},
		{"GET", "/keys", h.listKeys},
		{"POST", "/keys:rotate", h.rotateKeys},
		{"POST", "/keys:rotate-file", h.rotateKeyFile},
		{"GET", "/audit", h.listAudit},
		{"GET", "/audit:verify", h.verifyAudit},
		{"GET", "/stats", h.stats},
		{"GET", "/check", h.check},
		{"GET", "/backup", h.backup},
	})
}

// apiRoutes registers the management API and its description.
func (h *handler) apiRoutes(handle func(pattern string, fn func(http.ResponseWriter, *http.Request) error)) {
	handle("GET "+openAPIPath, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(openAPI)
		return nil
	})
	for _, route := range h.apiTable() {
		handle(route.method+" "+apiPath+route.path, route.fn)
	}
}

// service is what the caller of a request may ask.
func (h *handler) service(r *http.Request) (authority.Service, error) {
	who, err := h.caller(r)
	if err != nil {
		return nil, err
	}
	return h.Rules.As(who), nil
}

// serviceFor is the same, after the body was read into a struct.
func (h *handler) serviceFor(w http.ResponseWriter, r *http.Request, into any) (authority.Service, error) {
	who, err := h.caller(r)
	if err != nil {
		return nil, err
	}
	_, err = readJSON(w, r, h.Limits, into)
	return h.Rules.As(who), err
}

// serviceOnce is the same for a request that creates something, which an
// Idempotency-Key makes harmless to repeat.
func (h *handler) serviceOnce(w http.ResponseWriter, r *http.Request, into any) (authority.Service, error) {
	who, err := h.caller(r)
	if err != nil {
		return nil, err
	}
	body, err := readJSON(w, r, h.Limits, into)
	if err == nil {
		who.Once, err = onceOf(r, body)
	}
	return h.Rules.As(who), err
}

const (
	idempotencyKey = "Idempotency-Key"
	leastKey       = 22 // characters of base64 that hold 128 bits
	longestKey     = 255
)

// onceOf is the name that a client has given its request.
func onceOf(r *http.Request, body []byte) (*authority.Once, error) {
	keys := r.Header.Values(idempotencyKey)
	if len(keys) == 0 {
		return nil, nil
	}
	key := keys[0]
	if len(keys) > 1 || len(key) < leastKey || len(key) > longestKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, token.Errorf(token.ErrUsage, "the %s is not one of %d to %d visible characters", idempotencyKey, leastKey, longestKey).
			WithHint("send 128 random bits at least, in base64 or hex, new for each request")
	}
	digest := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), string(body)} {
		digest.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	once := &authority.Once{Key: secret.FromText(key)}
	digest.Sum(once.Request[:0])
	return once, nil
}

// mayTake gives an answer more time than the server's limit, which is for those
// that should be quick. Where the server has none it stays so: nothing would
// lift a deadline before the connection's next request.
func mayTake(w http.ResponseWriter, r *http.Request, d time.Duration) error {
	srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || srv.WriteTimeout <= 0 {
		return nil
	}
	err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

const (
	longWork = 10 * time.Minute // of what reads the whole store
	nextPart = 15 * time.Second // of one part of an answer that goes on
)
