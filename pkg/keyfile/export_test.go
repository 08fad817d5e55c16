package keyfile

// ParseFile parses the text of a key file and renders what was in it.
func ParseFile(text []byte) ([]byte, error) {
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	return render(keys), nil
}
