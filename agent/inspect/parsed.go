package inspect

// ProcessDocument is the document of Processes, for who reads it.
type ProcessDocument struct {
	Type      string          `json:"type"`
	Version   int             `json:"version"`
	Processes []ProcessRecord `json:"processes"`
	tail
}
