"""What crosses a border: records, envelopes, events and the target's protocol. Imports nothing else of chatferry."""
