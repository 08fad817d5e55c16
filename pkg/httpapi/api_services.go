package httpapi

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// deliveryQuery chooses deliveries.
type deliveryQuery struct {
	authority.DeliveryFilter
	after string
}

// retryFields are what chooses deliveries to be retried, which are pending
// anyway; deliveryFields are the parameters of their list. What is called token
// elsewhere is token_id here: a parameter token would be a secret in a URL.
var (
	retryFields = []queryField[deliveryQuery]{
		idField("token_id", func(q *deliveryQuery) *token.ID { return &q.Token }),
		ownerField("owner", func(q *deliveryQuery) *token.Owner { return &q.Owner }),
		nameField("service", func(q *deliveryQuery) *string { return &q.Service }),
		nameField("provisioner", func(q *deliveryQuery) *string { return &q.Provisioner }),
	}
	deliveryFields = append(slices.Clip(retryFields),
		boolField("pending", func(q *deliveryQuery) *bool { return &q.Pending }),
		textField("after", func(q *deliveryQuery) *string { return &q.after }),
	)
)

func (h *handler) listDeliveries(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	q, err := readQuery(r.URL.Query(), deliveryFields, "limit")
	if err != nil {
		return err
	}
	return list[authority.Delivery]{
		"deliveries", s.ListDeliveries(r.Context(), q.DeliveryFilter),
		func(d authority.Delivery) any { return toWireDelivery(d) },
		func(d authority.Delivery) string { return d.Token.String() + "/" + d.Provisioner },
	}.behind(q.after).answer(w, r)
}

func (h *handler) retryDeliveries(w http.ResponseWriter, r *http.Request) error {
	var body map[string]string
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	values := url.Values{}
	for name, text := range body {
		values.Set(name, text)
	}
	q, err := readQuery(values, retryFields)
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	n, err := s.RetryDeliveries(r.Context(), q.DeliveryFilter)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, wireRetried{&n})
	return nil
}

// deliverToken answers when other systems have been told of a token, or have
// failed once.
func (h *handler) deliverToken(w http.ResponseWriter, r *http.Request) error {
	s, err := h.serviceFor(w, r, &struct{}{})
	if err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	pending, err := s.Deliver(r.Context(), id)
	if err != nil {
		return err
	}
	answer := wirePending{make([]wireDelivery, len(pending))}
	for i, d := range pending {
		answer.Pending[i] = toWireDelivery(d)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
