package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// userTokenRoutes are what clients of another server's user tokens already speak,
// with the statuses and names that these know.
func (h *handler) userTokenRoutes() {
	h.handle("POST /api/v2/userTokens/currentUser", h.makeOwn)
	h.handle("DELETE /api/v2/userTokens/currentUser", h.deleteOwn)
	h.handle("GET /api/v2/userTokens/currentUser/hasToken", h.hasOwn)
	h.handle("GET /api/v2/userTokens/currentUser/createTime", h.ownCreateTime)
	h.handle("GET /api/v2/userTokens", h.userTokens)
	h.handle("GET /api/v2/userTokens/{username}", h.userToken)
	h.handle("DELETE /api/v2/userTokens/userCode/{userCode}", h.deleteByCode)
	h.handle("DELETE /api/v2/userTokens/purge", h.purgeUserTokens)
	h.handle("GET /api/v2/config/userTokens", h.userTokenConfig)
	h.handle("PUT /api/v2/config/userTokens", h.setUserTokenConfig)
	h.handle("DELETE /api/v2/config/userTokens", h.deleteUserTokenConfig)
}

// internalRealm is what these clients call the realm local.
const internalRealm = "Internal"

// legacyToken is a user token as these clients know it.
type legacyToken struct {
	UserCode       string            `json:"userCode"`
	PassCode       string            `json:"passCode,omitempty"` // when it is made, and never again
	Username       string            `json:"username"`
	Realm          string            `json:"realm"`
	CreateTime     time.Time         `json:"createTime"`
	LastAccessTime orNull[time.Time] `json:"lastAccessTime"`
	ExpirationDate orNull[time.Time] `json:"expirationDate"`
}

func toLegacy(t *token.Token) legacyToken {
	l := legacyToken{
		UserCode: t.ID.String(), Username: t.Owner.Name, Realm: t.Owner.Realm,
		CreateTime: t.CreatedAt, LastAccessTime: some(t.LastUsedAt), ExpirationDate: some(t.ExpiresAt),
	}
	if l.Realm == token.LocalRealm {
		l.Realm = internalRealm
	}
	return l
}

// legacyQuery is what the query of a request says, and the realm that it means;
// none is Internal. What is there twice means two things.
func legacyQuery(r *http.Request) (q url.Values, realm string, err error) {
	q = r.URL.Query()
	for name, values := range q {
		if len(values) > 1 {
			return q, "", errRepeated(name, len(values))
		}
	}
	if realm = q.Get("realm"); realm == "" || realm == internalRealm {
		return q, token.LocalRealm, nil
	}
	return q, realm, token.CheckName("realm", realm)
}

func (h *handler) makeOwn(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	issued, err := s.Generate(r.Context(), token.Spec{Kind: token.User})
	if err != nil {
		return err
	}
	l := toLegacy(&issued.Token)
	l.PassCode = issued.Secret.Reveal()
	writeJSON(w, http.StatusOK, l) // 200, as the original has it
	return nil
}

// own is the caller's user token.
func (h *handler) own(r *http.Request) (s authority.Service, t token.Token, err error) {
	if s, err = h.service(r); err != nil {
		return s, t, err
	}
	me, err := s.WhoAmI(r.Context())
	if err != nil {
		return s, t, err
	}
	t, err = userTokenOf(r, s, me.Owner)
	return s, t, err
}

func userTokenOf(r *http.Request, s authority.Service, o token.Owner) (token.Token, error) {
	for t, err := range s.List(r.Context(), token.Selector{Kind: token.User, Owner: o}) {
		return t, err // there is one at most
	}
	return token.Token{}, token.Errorf(token.ErrNotFound, "%s has no user token", o)
}

func (h *handler) deleteOwn(w http.ResponseWriter, r *http.Request) error {
	s, t, err := h.own(r)
	if err == nil {
		err = s.Delete(r.Context(), []token.Ref{t.Ref()})
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (h *handler) hasOwn(w http.ResponseWriter, r *http.Request) error {
	_, _, err := h.own(r)
	has := err == nil
	if !has && !errors.Is(err, token.ErrNotFound) {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]bool{"userTokenExists": has})
	return nil
}

func (h *handler) ownCreateTime(w http.ResponseWriter, r *http.Request) error {
	_, t, err := h.own(r)
	if err == nil {
		writeJSON(w, http.StatusOK, t.CreatedAt)
	}
	return err
}

// office is the service of a caller who has the role: to these clients, what is
// an administrator's is nobody else's, not even of their own token.
func (h *handler) office(r *http.Request, role token.Role) (authority.Service, error) {
	who, err := h.caller(r)
	if err != nil {
		return nil, err
	}
	return h.Rules.As(who), h.Rules.Require(r.Context(), who, "administer user tokens", role)
}

// userTokens lists user tokens of a realm by the days they were made on, UTC,
// the second not included.
func (h *handler) userTokens(w http.ResponseWriter, r *http.Request) error {
	s, err := h.office(r, token.Auditor)
	if err != nil {
		return err
	}
	sel := token.Selector{Kind: token.User}
	q, realm, err := legacyQuery(r)
	if err != nil {
		return err
	}
	sel.Realm = realm
	for name, at := range map[string]*time.Time{"createdAfter": &sel.CreatedAfter, "createdBefore": &sel.CreatedBefore} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		if *at, err = time.Parse(time.DateOnly, text); err != nil {
			return token.Errorf(token.ErrUsage, "%s %q is not a day", name, text).WithHint("write it as yyyy-mm-dd")
		}
	}
	all := []legacyToken{}
	if !sel.CreatedAfter.IsZero() && sel.CreatedAfter.Equal(sel.CreatedBefore) {
		writeJSON(w, http.StatusOK, all) // no days at all, which a selector calls a mistake
		return nil
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	for t, err := range s.List(r.Context(), sel) {
		if err != nil {
			return err
		}
		all = append(all, toLegacy(&t))
	}
	if err := mayTake(w, r, nextPart); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, all)
	return nil
}

func (h *handler) userToken(w http.ResponseWriter, r *http.Request) error {
	s, err := h.office(r, token.Auditor)
	if err != nil {
		return err
	}
	_, realm, err := legacyQuery(r)
	if err != nil {
		return err
	}
	o, err := token.NewOwner(realm, r.PathValue("username"))
	if err != nil {
		return err
	}
	t, err := userTokenOf(r, s, o)
	if err == nil {
		writeJSON(w, http.StatusOK, toLegacy(&t))
	}
	return err
}

func (h *handler) deleteByCode(w http.ResponseWriter, r *http.Request) error {
	s, err := h.office(r, token.Admin)
	if err != nil {
		return err
	}
	id, err := token.ParseID(r.PathValue("userCode"))
	if err != nil {
		return token.Errorf(token.ErrNotFound, "there is no user token %q", r.PathValue("userCode"))
	}
	t, err := s.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if t.Kind != token.User || t.Status == token.Revoked || t.Status == token.Expired {
		return token.Errorf(token.ErrNotFound, "there is no user token %s", id)
	}
	if err := s.Delete(r.Context(), []token.Ref{t.Ref()}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// purgeUserTokens purges the tokens of those whom their directory no longer
// knows. What stops it is told with 409, for these clients know no other.
func (h *handler) purgeUserTokens(w http.ResponseWriter, r *http.Request) error {
	who, err := h.caller(r)
	if err != nil {
		return err
	}
	if h.Orphans == nil {
		if err := h.Rules.Require(r.Context(), who, "administer user tokens", token.Admin); err != nil {
			return err
		}
		return token.Errorf(token.ErrConflict, "no directory is configured, so nobody is known to be gone")
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	s := h.Orphans(who)
	plan, err := s.Find(r.Context(), orphans.Query{})
	if err == nil {
		_, err = s.Purge(r.Context(), plan, orphans.Consent{})
	}
	if errors.Is(err, token.ErrUnsafe) || errors.Is(err, token.ErrConflict) || errors.Is(err, token.ErrCannotTell) {
		return &statusError{http.StatusConflict, err}
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// legacyDays is the one field with upper case in it that a request may hold.
const legacyDays = "userTokenDefaultExpirationDays"

// userTokenDays is the policy as these clients know it.
type userTokenDays struct {
	Days int64 `json:"userTokenDefaultExpirationDays"`
}

func (h *handler) userTokenConfig(w http.ResponseWriter, r *http.Request) error {
	s, err := h.office(r, token.Auditor)
	if err != nil {
		return err
	}
	p, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, userTokenDays{int64((p.UserTokenLifetime + token.Day - 1) / token.Day)})
	return nil
}

func (h *handler) setUserTokenConfig(w http.ResponseWriter, r *http.Request) error {
	var body userTokenDays
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	if body.Days <= 0 {
		return token.Errorf(token.ErrUsage, "%d days are no lifetime", body.Days).WithHint("DELETE makes it unlimited")
	}
	return setUserTokenLifetime(w, r, s, strconv.FormatInt(body.Days, 10)+"d")
}

func (h *handler) deleteUserTokenConfig(w http.ResponseWriter, r *http.Request) error {
	s, err := h.office(r, token.Admin)
	if err != nil {
		return err
	}
	return setUserTokenLifetime(w, r, s, token.Unlimited)
}

func setUserTokenLifetime(w http.ResponseWriter, r *http.Request, s authority.Service, lifetime string) error {
	if _, err := s.SetPolicy(r.Context(), map[string]string{"user_token_lifetime": lifetime}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
