package httpapi

import (
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func (h *handler) whoAmI(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	id, err := s.WhoAmI(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireIdentity(id))
	return nil
}

// setPassword sets the caller's own password, or that of a named owner.
func (h *handler) setPassword(w http.ResponseWriter, r *http.Request) error {
	var body wirePassword
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	if err := s.SetPassword(r.Context(), body.Owner, secret.FromText(body.Old), secret.FromText(body.Password)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// renewClientSecret makes a client secret, which is shown this once.
func (h *handler) renewClientSecret(w http.ResponseWriter, r *http.Request) error {
	s, err := h.serviceOnce(w, r, &struct{}{})
	if err != nil {
		return err
	}
	c, plain, err := s.RenewClientSecret(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, wireClientSecret{toWireConnection(c), plain.Reveal()})
	return nil
}

func (h *handler) getPolicy(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	p, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWirePolicy(p))
	return nil
}

func (h *handler) patchPolicy(w http.ResponseWriter, r *http.Request) error {
	var body map[string]string
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	p, err := s.SetPolicy(r.Context(), body)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWirePolicy(p))
	return nil
}

func (h *handler) listKeys(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	keys, err := s.ListKeys(r.Context())
	if err != nil {
		return err
	}
	list := make([]wireKey, len(keys))
	for i, k := range keys {
		list[i] = toWireKey(k)
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": list})
	return nil
}

// wireAlgorithm names the algorithm whose keys are to be rotated.
type wireAlgorithm struct {
	Algorithm token.Algorithm `json:"algorithm"`
}

func (h *handler) rotateKeys(w http.ResponseWriter, r *http.Request) error {
	var body wireAlgorithm
	s, err := h.serviceOnce(w, r, &body)
	if err != nil {
		return err
	}
	k, err := s.RotateSigning(r.Context(), body.Algorithm)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireKey(k))
	return nil
}

func (h *handler) rotateKeyFile(w http.ResponseWriter, r *http.Request) error {
	s, err := h.serviceFor(w, r, &struct{}{})
	if err != nil {
		return err
	}
	k, err := s.RotateKeyFile(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireKey(k))
	return nil
}

func (h *handler) verifyAudit(w http.ResponseWriter, r *http.Request) error {
	return answerLong(h, w, r, func(s authority.Service) (audit.Report, error) { return s.VerifyAudit(r.Context()) })
}

func (h *handler) stats(w http.ResponseWriter, r *http.Request) error {
	return answerLong(h, w, r, func(s authority.Service) (authority.Stats, error) { return s.Stats(r.Context()) })
}

var checkFields = []queryField[bool]{boolField("deep", func(b *bool) *bool { return b })}

func (h *handler) check(w http.ResponseWriter, r *http.Request) error {
	deep, err := readQuery(r.URL.Query(), checkFields)
	if err != nil {
		return err
	}
	return answerLong(h, w, r, func(s authority.Service) (authority.CheckReport, error) { return s.Check(r.Context(), deep) })
}

// answerLong answers what reads all of the store.
func answerLong[T any](h *handler, w http.ResponseWriter, r *http.Request, ask func(authority.Service) (T, error)) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	v, err := ask(s)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (h *handler) backup(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	// The store is held until all is written: a client may read as slowly as it
	// likes, so it reads from a file.
	spool, err := os.CreateTemp(h.Scratch, ".tokenctl-backup-*") // 0600
	if err != nil {
		return token.Errorf(token.ErrCannotTell, "there is no room for a backup: %w", err)
	}
	os.Remove(spool.Name()) // at once, where that can be: a crash leaves nothing
	defer os.Remove(spool.Name())
	defer spool.Close()
	if err := s.Backup(r.Context(), spool); err != nil {
		return err
	}
	size, err := spool.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return token.Errorf(token.ErrCannotTell, "the backup cannot be read back: %w", err)
	}
	w.Header().Set("Content-Type", backupType)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(&parts{w: w, r: r}, spool); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// backupType is the media type of a backup.
const backupType = "application/octet-stream"

// parts is an answer that goes on for as long as it gets ahead.
type parts struct {
	w http.ResponseWriter
	r *http.Request
}

func (p *parts) Write(b []byte) (int, error) {
	if err := mayTake(p.w, p.r, nextPart); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
