package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func (h *handler) postToken(w http.ResponseWriter, r *http.Request) error {
	var body wireSpec
	s, err := h.serviceOnce(w, r, &body)
	if err != nil {
		return err
	}
	spec, err := body.spec()
	if err != nil {
		return err
	}
	issued, err := s.Generate(r.Context(), spec)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, toWireIssued(issued))
	return nil
}

func (h *handler) getToken(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	t, err := s.Get(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireToken(t))
	return nil
}

// revisionFields are the parameters of what ends something that was seen.
var revisionFields = []queryField[uint64]{{"revision", func(n *uint64, v string) (err error) {
	if *n, err = strconv.ParseUint(v, 10, 64); err != nil {
		return badParameter("revision", v, "is not a number")
	}
	return nil
}, func(n *uint64) string { return unlessZero(*n) }}}

func (h *handler) deleteToken(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	revision, err := readQuery(r.URL.Query(), revisionFields)
	if err != nil {
		return err
	}
	return done(w, s.Delete(r.Context(), []token.Ref{{ID: id, Revision: revision}}))
}

// done answers that a change was made.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// The bodies of changes of one token.
type (
	wireRevision struct {
		Revision uint64 `json:"revision,omitempty"`
	}
	wireRotation struct {
		wireRevision
		Grace     wireDuration `json:"grace,omitzero"`
		UntilUsed bool         `json:"until_used,omitempty"`
	}
	wireReason struct {
		wireRevision
		Reason string `json:"reason,omitempty"`
	}
	wireUntil struct {
		wireRevision
		Until orNull[time.Time] `json:"until,omitzero"`
	}
)

func (h *handler) rotateToken(w http.ResponseWriter, r *http.Request) error {
	var body wireRotation
	s, err := h.serviceOnce(w, r, &body)
	if err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	issued, err := s.Rotate(r.Context(), token.Ref{ID: id, Revision: body.Revision}, authority.Rotation{Grace: time.Duration(body.Grace), UntilUsed: body.UntilUsed})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireIssued(issued))
	return nil
}

// changeOne is a change of the token in the path.
func (h *handler) changeOne(w http.ResponseWriter, r *http.Request, body any, revision *uint64, change func(context.Context, authority.Service, token.Ref) error) error {
	s, err := h.serviceFor(w, r, body)
	if err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	return done(w, change(r.Context(), s, token.Ref{ID: id, Revision: *revision}))
}

func (h *handler) suspendToken(w http.ResponseWriter, r *http.Request) error {
	var body wireUntil
	return h.changeOne(w, r, &body, &body.Revision, func(ctx context.Context, s authority.Service, ref token.Ref) error {
		return s.Suspend(ctx, []token.Ref{ref}, body.Until.v)
	})
}

func (h *handler) resumeToken(w http.ResponseWriter, r *http.Request) error {
	var body wireRevision
	return h.changeOne(w, r, &body, &body.Revision, func(ctx context.Context, s authority.Service, ref token.Ref) error {
		return s.Resume(ctx, []token.Ref{ref})
	})
}

func (h *handler) revokeToken(w http.ResponseWriter, r *http.Request) error {
	var body wireReason
	return h.changeOne(w, r, &body, &body.Revision, func(ctx context.Context, s authority.Service, ref token.Ref) error {
		return s.Revoke(ctx, []token.Ref{ref}, body.Reason)
	})
}

func (h *handler) takeBackToken(w http.ResponseWriter, r *http.Request) error {
	var body wireRevision
	return h.changeOne(w, r, &body, &body.Revision, func(ctx context.Context, s authority.Service, ref token.Ref) error {
		return s.TakeBack(ctx, ref)
	})
}

// wireRefs is the body of changes of many tokens.
type wireRefs struct {
	Tokens []wireRef         `json:"tokens"`
	Until  orNull[time.Time] `json:"until,omitzero"` // of tokens:suspend
}

func (h *handler) changeMany(w http.ResponseWriter, r *http.Request, body any, tokens *[]wireRef, change func(context.Context, authority.Service, []token.Ref) error) error {
	s, err := h.serviceFor(w, r, body)
	if err != nil {
		return err
	}
	if *tokens == nil {
		return token.Errorf(token.ErrUsage, "tokens is missing in the body")
	}
	refs, err := tokenRefs(*tokens)
	if err != nil {
		return err
	}
	return done(w, change(r.Context(), s, refs))
}

func (h *handler) suspendTokens(w http.ResponseWriter, r *http.Request) error {
	var body wireRefs
	return h.changeMany(w, r, &body, &body.Tokens, func(ctx context.Context, s authority.Service, refs []token.Ref) error {
		return s.Suspend(ctx, refs, body.Until.v)
	})
}

// onlyRefs is a body of references and nothing else.
type onlyRefs struct {
	Tokens []wireRef `json:"tokens"`
}

func (h *handler) resumeTokens(w http.ResponseWriter, r *http.Request) error {
	var body onlyRefs
	return h.changeMany(w, r, &body, &body.Tokens, func(ctx context.Context, s authority.Service, refs []token.Ref) error { return s.Resume(ctx, refs) })
}

func (h *handler) deleteTokens(w http.ResponseWriter, r *http.Request) error {
	var body onlyRefs
	return h.changeMany(w, r, &body, &body.Tokens, func(ctx context.Context, s authority.Service, refs []token.Ref) error { return s.Delete(ctx, refs) })
}

// wireRevoke ends tokens that are named, chosen, or whose secret is shown.
type wireRevoke struct {
	Tokens   []wireRef     `json:"tokens,omitempty"`
	Secret   string        `json:"secret,omitempty"`
	Selector *wireSelector `json:"selector,omitempty"`
	DryRun   bool          `json:"dry_run,omitempty"`
	Reason   string        `json:"reason,omitempty"`
}

func (b *wireRevoke) check() error {
	ways := 0
	for _, given := range []bool{b.Tokens != nil, b.Secret != "", b.Selector != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return token.Errorf(token.ErrUsage, "the body has to have one of tokens, secret and selector")
	}
	if b.DryRun && b.Selector == nil {
		return token.Errorf(token.ErrUsage, "dry_run goes with a selector only")
	}
	return nil
}

func (h *handler) revokeTokens(w http.ResponseWriter, r *http.Request) error {
	who, err := h.caller(r)
	stranger := errors.Is(err, errUnknownCaller) && r.Header.Get("Authorization") == ""
	if err != nil && !stranger {
		return err
	}
	if stranger {
		who = authority.Caller{Via: "revoking a secret", From: h.clientAddress(r)}
	}
	var body wireRevoke
	if _, err := readJSON(w, r, h.Limits, &body); err != nil {
		return err
	}
	if stranger && body.Secret == "" {
		return errUnknownCaller
	}
	if err := body.check(); err != nil {
		return err
	}
	s := h.Rules.As(who)
	switch {
	case body.Secret != "":
		t, err := s.RevokeSecret(r.Context(), secret.FromText(body.Secret), body.Reason)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, toWireToken(t))
		return nil
	case body.Selector != nil:
		return revokeChosen(w, r, s, who.Owner, &body)
	}
	refs, err := tokenRefs(body.Tokens)
	if err != nil {
		return err
	}
	return done(w, s.Revoke(r.Context(), refs, body.Reason))
}

// wireChosen is what a selector has chosen to be revoked.
type wireChosen struct {
	DryRun bool      `json:"dry_run"`
	Tokens []wireRef `json:"tokens"` // as they were seen
}

// revokeChosen revokes what a selector chooses, never more than fits into one
// answer: what was revoked can be seen.
func revokeChosen(w http.ResponseWriter, r *http.Request, s authority.Service, me token.Owner, body *wireRevoke) error {
	sel, err := readSelector(body.Selector.values(), me)
	if err != nil {
		return err
	}
	if !sel.Narrows() {
		return token.Errorf(token.ErrUnsafe, "the selector chooses all tokens").WithHint("name a kind, a name, an age …")
	}
	chosen := []token.Ref{}
	for t, err := range s.List(r.Context(), sel) {
		if err != nil {
			return err
		}
		if len(chosen) == longestPage {
			return token.Errorf(token.ErrUnsafe, "the selector chooses more than %d tokens", longestPage).WithHint("narrow it, or list them and revoke them page by page")
		}
		chosen = append(chosen, t.Ref())
	}
	if !body.DryRun {
		if err := s.Revoke(r.Context(), chosen, body.Reason); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, wireChosen{DryRun: body.DryRun, Tokens: toWireRefs(chosen)})
	return nil
}

// wirePresented is a credential to be verified.
type wirePresented struct {
	Credential  string     `json:"credential"`
	User        string     `json:"user,omitempty"`
	Service     string     `json:"service,omitempty"`
	Kinds       []kindName `json:"kinds,omitempty"`
	Connection  string     `json:"connection,omitempty"`
	Role        token.Role `json:"role,omitempty"`
	CountsAsUse bool       `json:"counts_as_use,omitempty"`
}

// checkAt refuses a question about a password at a service that could not be
// meant: a user who is not looked at would be anybody, and guesses are counted
// by the service's name, which must not be a long text of a stranger's.
func checkAt(user, service string) error {
	if service != "" {
		return token.CheckName("service", service)
	}
	if user != "" {
		return token.Errorf(token.ErrUsage, "a user is named, but no service at which the password is theirs")
	}
	return nil
}

// verifyCredential needs no caller: the credential speaks for itself. Why one
// is refused is not said.
func (h *handler) verifyCredential(w http.ResponseWriter, r *http.Request) error {
	var body wirePresented
	if _, err := readJSON(w, r, h.Limits, &body); err != nil {
		return err
	}
	if err := checkAt(body.User, body.Service); err != nil {
		return err
	}
	p := authority.Presented{
		Credential: secret.FromText(body.Credential), User: body.User, Service: body.Service, Connection: body.Connection, Role: body.Role,
		CountsAsUse: body.CountsAsUse, From: h.clientAddress(r),
	}
	for _, k := range body.Kinds {
		p.Kinds = append(p.Kinds, token.Kind(k))
	}
	id, err := h.Rules.Verify(r.Context(), p)
	if errors.Is(err, token.ErrRefused) {
		h.refused(r, err)
		h.Observer.Verdict("refused")
		writeVerdict(w, http.StatusOK, notAccepted)
		return nil
	}
	if err != nil {
		h.Observer.Verdict("cannot_tell")
		return err
	}
	h.Observer.Verdict("accepted")
	valid := true
	writeJSON(w, http.StatusOK, wireVerdict{&valid, toWireIdentity(id)})
	return nil
}

// wireCredential is a credential to be explained.
type wireCredential struct {
	Credential string `json:"credential"`
}

func (h *handler) explainCredential(w http.ResponseWriter, r *http.Request) error {
	var body wireCredential
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	e, err := s.Explain(r.Context(), secret.FromText(body.Credential))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireExplanation(e))
	return nil
}

// exchangeToken is the token endpoint for our own client: it can ask for no
// roles at all, which RFC 6749 §3.2 leaves no way to say.
func (h *handler) exchangeToken(w http.ResponseWriter, r *http.Request) error {
	var body wireExchange
	if _, err := readJSON(w, r, h.Limits, &body); err != nil {
		return err
	}
	from := h.clientAddress(r)
	a, err := h.Rules.As(authority.Caller{Via: "token endpoint", From: from}).Exchange(r.Context(), authority.Exchange{
		RefreshToken: secret.FromText(body.RefreshToken), SubjectToken: secret.FromText(body.SubjectToken), Roles: body.Roles, Resource: body.Resource,
		ClientID: body.ClientID, ClientSecret: secret.FromText(body.ClientSecret), From: from,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireAccess(a))
	return nil
}
