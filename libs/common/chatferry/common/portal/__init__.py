"""The Bitrix24 portal: webhooks, the shared rate bucket, batch calls, and what must hold before a run."""
